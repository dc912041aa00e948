// Package powerloss is a file system for tests that loses what was not synced, as a machine does
// that loses its power. It keeps everything in memory, and is mounted with FUSE. After a loss of
// power it can be mounted again, with what a journaling file system such as ext4 would have: the
// data that fsync(2) or O_SYNC brought to disk, and the names up to the last such call.
package powerloss
