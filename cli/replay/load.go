// Package replay is loads of requests over time, what became of them, and what
// is told about it: as text, as JSON and as a picture. It knows no model and no
// device.
package replay

import (
	"slices"
	"time"
)

// Request is what is asked for at a time.
type Request struct {
	At     time.Duration // since the load began
	Prompt int           // tokens
	Output int           // tokens to generate
}

// Load is requests in the order of their times.
type Load struct {
	Name     string
	Requests []Request
}

// Until is the load up to a time of its own.
func (l Load) Until(end time.Duration) Load {
	n, _ := slices.BinarySearchFunc(l.Requests, end, func(r Request, end time.Duration) int {
		if r.At < end {
			return -1
		}
		return 1
	})
	return Load{l.Name, l.Requests[:n]}
}

// First is the first n requests.
func (l Load) First(n int) Load { return Load{l.Name, l.Requests[:min(n, len(l.Requests))]} }

// Faster is the load with its rates multiplied by speed.
func (l Load) Faster(speed float64) Load {
	return l.each(func(r Request) Request {
		r.At = time.Duration(float64(r.At) / speed)
		return r
	})
}

// Fit cuts requests to sequences of at most so many tokens: outputs at half of
// it, then prompts at what is left.
func (l Load) Fit(most int) Load {
	return l.each(func(r Request) Request {
		r.Output = max(1, min(r.Output, most/2))
		r.Prompt = max(1, min(r.Prompt, most-r.Output))
		return r
	})
}

func (l Load) each(f func(Request) Request) Load {
	out := Load{l.Name, make([]Request, len(l.Requests))}
	for i, r := range l.Requests {
		out.Requests[i] = f(r)
	}
	return out
}

// Length is the time of the last request.
func (l Load) Length() time.Duration {
	if len(l.Requests) == 0 {
		return 0
	}
	return l.Requests[len(l.Requests)-1].At
}
