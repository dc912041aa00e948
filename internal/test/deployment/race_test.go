//go:build race

package deployment_test

// seeds is how many schedules [TestAnyScheduleEndsRight] makes. With the race detector each takes
// some twenty times as long.
const seeds = 100
