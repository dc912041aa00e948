// Package trial puts the reference deployment on trial: servers, agents and a message queue as real
// processes on pretended hosts, with packets through their routers, while one part after the other
// fails. It has tests only.
package trial
