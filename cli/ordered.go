package cli

import "context"

// ordered consumes results in the order in which the work was started, while
// up to window pieces of it are under way. start hands over the channel of one
// piece's result, waiting for room; it says false when ctx is done, after which
// produce should return. Pieces that were started are always consumed.
func ordered[T any](ctx context.Context, window int, produce func(start func(<-chan T) bool) error, consume func(T) error) error {
	queue := make(chan (<-chan T), window)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	produced := make(chan error, 1)
	go func() {
		defer close(queue)
		produced <- produce(func(piece <-chan T) bool {
			queue <- piece
			return ctx.Err() == nil
		})
	}()
	var failed error
	for piece := range queue {
		result := <-piece
		if failed == nil {
			if failed = consume(result); failed != nil {
				cancel()
			}
		}
	}
	if err := <-produced; failed == nil {
		failed = err
	}
	return failed
}

// ready is the channel of a result that is there already.
func ready[T any](v T) <-chan T {
	c := make(chan T, 1)
	c <- v
	return c
}

// working is the channel of what work returns, in a goroutine of its own.
func working[T any](work func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- work() }()
	return c
}
