//go:build !race

package deployment_test

// seeds is how many schedules [TestAnyScheduleEndsRight] makes.
const seeds = 500
