package scheduler

// floor is the share of time that training never falls under.
type floor struct {
	share float64
}
