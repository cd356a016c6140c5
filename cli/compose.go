package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/text"
	"loquetier/engine/weights"
	"loquetier/models"
	"loquetier/scheduler"
	"loquetier/virtualmod"
)

// session is a model on a device that takes requests. Its methods are for
// one goroutine, but for those of the scheduler.
type session struct {
	options   modelOptions
	log       *slog.Logger
	stderr    io.Writer
	device    *engine.Device
	text      *text.Text // nil: the model has no tokenizer
	engine    *meter
	base      *virtualmod.Base
	scheduler *scheduler.Scheduler
	loader    *virtualmod.Loader
	ends      []int32 // tokens that end an output

	closers []func() error
}

// withSession runs f with the model that the flags ask for.
func withSession(c *cli.Context, f func(s *session) error) error {
	o, err := modelOptionsOf(c)
	if err != nil {
		return err
	}
	return open(c, o, f)
}

// open runs f with a session, which it closes afterwards.
func open(c *cli.Context, o modelOptions, f func(s *session) error) error {
	return withCheckpoint(c, o, func(s *session, checkpoint *weights.Checkpoint) error {
		if err := s.serve(c.Context, checkpoint); err != nil {
			return err
		}
		if c.Context.Err() != nil {
			return c.Context.Err()
		}
		return f(s)
	})
}

// withCheckpoint runs f with a session that has nothing on the device yet.
// Everything that can be wrong with the model's and adapters' files is found
// before.
func withCheckpoint(c *cli.Context, o modelOptions, f func(s *session, checkpoint *weights.Checkpoint) error) (err error) {
	s := &session{options: o, stderr: c.App.ErrWriter, log: newLogger(c.App.ErrWriter, o.log)}
	defer func() { err = errors.Join(err, s.close()) }()
	checkpoint, err := s.openCheckpoint()
	if err != nil {
		return err
	}
	s.later(checkpoint.Close)
	if err := s.checkAdapters(checkpoint.Config); err != nil {
		return err
	}
	if s.device, err = engine.OpenDevice(o.device); err != nil {
		return err
	}
	s.later(s.device.Close)
	return f(s, checkpoint)
}

func (s *session) later(f func() error) { s.closers = append(s.closers, f) }

// close takes apart what compose put together, in reverse order.
func (s *session) close() error {
	var all []error
	for _, f := range slices.Backward(s.closers) {
		all = append(all, f())
	}
	return errors.Join(all...)
}

// serve loads the model and its adapters and starts to take requests.
func (s *session) serve(ctx context.Context, checkpoint *weights.Checkpoint) error {
	if err := s.load(ctx, checkpoint); err != nil {
		return fmt.Errorf("load model %s: %w", s.options.name(), err)
	}
	if err := s.attachAdapters(); err != nil {
		return err
	}
	s.rehearse()
	return s.start(checkpoint)
}

// usualRank is a rank for which kernels are made ready whatever adapters there are.
const usualRank = 16

// rehearse makes kernels ready on a GPU, whose driver takes seconds for those that it
// has not seen. What goes wrong goes wrong again, and is told, when they are needed.
func (s *session) rehearse() {
	if s.software() {
		return
	}
	start, ready, ranks := time.Now(), newProgress(s.stderr, "preparing kernels"), s.ranks()
	err := s.engine.Rehearse(ranks, ready.count)
	ready.finish()
	if err != nil {
		s.log.Warn("kernels are made when they are needed", "error", err)
		return
	}
	s.log.Info("kernels made ready", "ranks", ranks, "took", time.Since(start).Round(time.Millisecond))
}

// ranks are those of adapters that are known, ascending.
func (s *session) ranks() []int {
	ranks := append([]int{usualRank}, s.options.ranks...)
	for _, name := range s.base.Names() {
		if info, err := s.base.Info(name); err == nil {
			ranks = append(ranks, info.Ranks...)
		}
	}
	slices.Sort(ranks)
	return slices.Compact(ranks)
}

// software tells whether the device is the processor.
func (s *session) software() bool { return engine.FamilyFor(s.device.Info) == "software" }

// attachAdapters registers the adapters given and brings the first ones onto the
// device, as many as there are slots.
func (s *session) attachAdapters() error {
	for i, a := range s.options.adapters {
		if err := s.attach(a); err != nil {
			return err
		}
		if i >= s.engine.Slots() {
			continue
		}
		if err := s.base.Prefetch(a.name); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) openCheckpoint() (*weights.Checkpoint, error) {
	if config, ok := weights.Shape(s.options.shape); ok {
		if s.options.layers > 0 {
			config.Layers = s.options.layers
		}
		return weights.NewRandom(config, weights.F16), s.checkContext(config)
	}
	folder, err := openModel(s.options.model)
	if err != nil {
		return nil, err
	}
	checkpoint, err := weights.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: a model folder has config.json and .safetensors files", err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load model %s: %w", s.options.model, err), folder.Close())
	}
	if s.text, err = loadText(folder); err == nil {
		err = s.checkContext(checkpoint.Config)
	}
	if err != nil {
		return nil, errors.Join(err, checkpoint.Close())
	}
	s.ends = endTokens(checkpoint.Config, s.text)
	return checkpoint, nil
}

func (s *session) checkContext(config weights.Config) error {
	if s.options.context > config.MaxPositions {
		return fmt.Errorf("--context %d: model %s was made for at most %d tokens", s.options.context, s.options.name(), config.MaxPositions)
	}
	return nil
}

// endTokens are the tokens that end an output.
func endTokens(config weights.Config, x *text.Text) []int32 {
	ends := slices.Clone(config.EOS)
	if x != nil && x.EOS != "" {
		if id, ok := x.Tokenizer.ID(x.EOS); ok && !slices.Contains(ends, id) {
			ends = append(ends, id)
		}
	}
	return ends
}

// checkAdapters reads the adapters before the weights are loaded, which may
// take long.
func (s *session) checkAdapters(config weights.Config) error {
	for _, a := range s.options.adapters {
		if err := withAdapter(a.dir, func(folder weights.Folder) error {
			_, err := virtualmod.ReadPEFT(folder, config)
			return err
		}); err != nil {
			return fmt.Errorf("attach adapter %s: %w", a.name, err)
		}
	}
	return nil
}

func (s *session) load(ctx context.Context, checkpoint *weights.Checkpoint) error {
	start, probed, loaded := time.Now(), newProgress(s.stderr, "measuring"), newProgress(s.stderr, "loading")
	config := s.engineConfig()
	config.Probed, config.Progress = probed.count, func(done, total int64) {
		probed.finish()
		loaded.bytes(done, total)
	}
	e, err := engine.New(ctx, s.device, checkpoint, config)
	probed.finish()
	loaded.finish()
	if err != nil {
		return err
	}
	s.later(e.Close)
	s.engine, s.base = &meter{Engine: e}, virtualmod.NewBase(e)
	s.later(s.printProfile)
	s.log.Info("model loaded", "model", s.options.name(), "device", s.device.Info.Name, "family", e.Family(),
		"precision", e.Precision().String(), "bytes", checkpoint.Bytes(), "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// engineConfig is what the options ask of the engine.
func (s *session) engineConfig() engine.Config {
	o := s.options
	probing, _ := probingOf(o.probe) // was checked
	return engine.Config{
		DType: o.dtype, Family: o.family, Probing: probing, Folder: cacheFolder(), Context: o.context, Slots: s.slots(), Profile: o.profile || o.stamps,
		CacheBlocks: (o.cacheTokens + batch.BlockSize - 1) / batch.BlockSize,
		TrainRows:   o.trainRows, MaxRows: o.maxRows, Recompute: o.recompute, Reserve: o.reserve, Piece: o.piece,
	}
}

// mostSlots is how many slots there are at most unless more are asked for: the
// slot table, which is written whenever an adapter comes or goes, grows with them.
const mostSlots = 128

// slots is the engine's default unless asked otherwise, with room for all
// adapters given and the embedded ones, up to mostSlots.
func (s *session) slots() int {
	if s.options.slots > 0 {
		return s.options.slots
	}
	return max(32, min(mostSlots, len(s.options.adapters)+len(models.Adapters())))
}

// start runs the scheduler, and what brings adapters, until the session is closed.
func (s *session) start(checkpoint *weights.Checkpoint) error {
	options, err := s.control(checkpoint.Fingerprint())
	if err != nil {
		return err
	}
	s.scheduler = scheduler.New(s.engine, options...)
	s.loader = virtualmod.NewLoader(s.base, s.scheduler)
	s.later(func() error {
		s.loader.Settle()
		return nil
	})
	for _, stop := range []func(){s.drive(s.scheduler), background(s.loader.Run)} {
		s.later(func() error {
			stop()
			return nil
		})
	}
	return nil
}

// drive runs a scheduler until stop is called, which waits for its end.
func (s *session) drive(of *scheduler.Scheduler) (stop func()) {
	return background(func(ctx context.Context) {
		if err := of.Run(ctx); err != nil {
			s.log.Debug("the scheduler stopped", "error", err) // the requests have failed with it
		}
	})
}

// background runs f until stop is called, which waits for its end.
func background(f func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (s *session) attach(a adapterOption) error {
	return withAdapter(a.dir, func(folder weights.Folder) error {
		start := time.Now()
		if err := s.base.Attach(a.name, folder); err != nil {
			return err
		}
		s.log.Info("adapter attached", "name", a.name, "folder", folder.Path(""), "took", time.Since(start).Round(time.Millisecond))
		return nil
	})
}

// withAdapter runs f with an adapter's folder, which it closes afterwards.
func withAdapter(dir string, f func(weights.Folder) error) error {
	folder, err := openAdapter(dir)
	if err != nil {
		return err
	}
	return errors.Join(f(folder), folder.Close())
}
