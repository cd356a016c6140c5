package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// MaxTopN is the largest number of log-probabilities a want may ask for.
const MaxTopN = 20

// Config sizes an engine. Zero values mean the defaults.
type Config struct {
	DType       string          // compute type: auto, f32, f16, bf16
	Family      string          // kernel family; "" by the device's abilities
	Tuning      *shaders.Tuning // shapes that no family has, for tests; nil: the family's
	Context     int             // longest sequence; 0: what the model was made for
	MaxRows     int             // most rows of a step; 0: 256 on software devices, else 2048, and TrainRows
	CacheBlocks int             // blocks of the KV cache; 0: eight sequences of the whole context, at most 2048 blocks
	Slots       int             // adapter slots; 0: 32
	TrainRows   int             // most training rows among them; 0: no training
	Recompute   Recompute
	Reserve     int64   // bytes of device memory to leave free for adapters to come, and their training
	Piece       int     // bytes of an adapter that are copied between two steps; 0: 4 MiB
	Store       int     // most bytes of one buffer of what layers keep for the backward pass; 0: the driver's largest allocation
	Profile     bool    // stamp every kernel call
	Submission  float64 // most arithmetic of one submission, about; 0: what a slow GPU, of those with matrix units or without, does in a fraction of a second

	Probing Probing               // when the ways of products are measured
	Folder  string                // where measurements are kept; "": nowhere
	Probed  func(done, total int) // is told how many classes of products are measured; may be nil

	// Progress is told how many of the checkpoint's bytes are loaded; may be nil.
	Progress func(done, total int64)
}

// maxRows is the most rows of a step: every device takes that many workgroups
// in a direction.
const maxRows = 65535

func (c *Config) setDefaults(device *Device, model weights.Config) {
	if c.Context == 0 || c.Context > model.MaxPositions {
		c.Context = model.MaxPositions
	}
	if c.MaxRows == 0 {
		c.MaxRows = 2048
		if device.Info.Type == vk.CPU {
			c.MaxRows = 256
		}
		c.MaxRows += c.TrainRows
	}
	c.MaxRows = min(c.MaxRows, maxRows)
	c.TrainRows = min(c.TrainRows, c.MaxRows)
	if c.CacheBlocks == 0 {
		c.CacheBlocks = min(8*ceil(c.Context, batch.BlockSize), 2048)
	}
	if c.Submission == 0 {
		c.Submission = 2e11
		if device.Info.MatrixF16 != (vk.Shape{}) && device.Info.Type != vk.CPU {
			c.Submission = 4e12
		}
	}
	if c.Slots == 0 {
		c.Slots = 32
	}
	if c.Store == 0 {
		c.Store = int(min(device.Info.MaxAllocation, math.MaxInt))
	}
	if c.Piece == 0 {
		c.Piece = 4 << 20 // 0.2 ms of a bus of 25 GB/s
	}
}

// Engine holds one base model on one device, with its adapters, its KV cache
// and the activations of a step. It is not safe for concurrent use.
type Engine struct {
	device           *Device
	config           Config
	checkpointConfig weights.Config
	precision        Precision
	kernels          *Kernels
	model            *model
	slots            *slotTable
	residents        []*resident
	arena            arena
	tape             tape
	pending          *training // whose backward pass is not over; nil where none is
	caches           []Cache
	cacheBuffers     []vk.Buffer
	frames           frames
	frame            *frame // of the step that is being prepared
	gathered         rowTables
	recorder         *vk.Recorder
	recordings       recordings
	profile          *Profile
	stats            StepStats
	ended            time.Time // the step that was waited for last
}

// New loads a checkpoint onto a device, or makes its numbers there where they are random. What does not fit is refused before
// anything is loaded, with the numbers. The device must outlive the engine; the
// checkpoint may be closed afterwards. When ctx is done loading ends with its error.
func New(ctx context.Context, device *Device, checkpoint *weights.Checkpoint, config Config) (*Engine, error) {
	e, err := prepare(device, checkpoint, config)
	if err != nil {
		return nil, err
	}
	plan := e.memory(checkpoint)
	if err := e.fits(plan); err != nil {
		return nil, err
	}
	if err := e.load(ctx, checkpoint, plan); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// prepare makes an engine that has nothing on the device yet.
func prepare(device *Device, checkpoint *weights.Checkpoint, config Config) (*Engine, error) {
	c := checkpoint.Config
	if err := checkModel(c); err != nil {
		return nil, err
	}
	config.setDefaults(device, c)
	tuning, err := TuningFor(device.Info, config.Family)
	if err != nil {
		return nil, err
	}
	if config.Tuning != nil {
		tuning = *config.Tuning
	}
	precision, err := PrecisionFor(config.DType, device.Info, storedType(checkpoint))
	if err != nil {
		return nil, err
	}
	kernels, err := NewKernels(device.Device, tuning, precision.Weight, precision.Act)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		device: device, config: config, checkpointConfig: c, precision: precision, kernels: kernels,
		residents: make([]*resident, config.Slots), recorder: device.NewRecorder(config.Profile),
	}
	if err := e.choose(); err != nil {
		return nil, err
	}
	e.frame = e.frames.next()
	if config.Profile {
		e.profile = newProfile()
	}
	return e, nil
}

func (e *Engine) load(ctx context.Context, checkpoint *weights.Checkpoint, plan Memory) (err error) {
	if e.slots, err = newSlotTable(e.device.Device, e.checkpointConfig.Layers, e.config.Slots); err != nil {
		return err
	}
	l := loader{device: e.device.Device, kernels: e.kernels, checkpoint: checkpoint, precision: e.precision, slots: e.slots, progress: e.config.Progress, ctx: ctx}
	if e.model, err = l.load(e.config.Context); err != nil {
		return err
	}
	return firstError(e.allocArena(), e.allocTape(plan), e.allocCache())
}

// storedType is the type that holds every matrix of a checkpoint without loss.
func storedType(checkpoint *weights.Checkpoint) weights.DType {
	var stored weights.DType
	for _, name := range checkpoint.Names() {
		t, _ := checkpoint.Tensor(name)
		switch {
		case len(t.Shape) < 2:
		case stored == 0:
			stored = t.DType
		case stored != t.DType:
			return weights.F32
		}
	}
	return stored
}

// checkModel refuses shapes the kernels cannot load four at a time.
func checkModel(c weights.Config) error {
	for _, d := range []struct {
		name          string
		value, factor int
	}{{"hidden_size", c.HiddenSize, 4}, {"intermediate_size", c.IntermediateSize, 4}, {"head_dim", c.HeadDim, 8}} {
		if d.value%d.factor != 0 {
			return fmt.Errorf("config.json: %s %d is not a multiple of %d", d.name, d.value, d.factor)
		}
	}
	return nil
}

// Close frees everything on the device.
func (e *Engine) Close() error {
	d := e.device.Device
	e.recordings.free() // once they have run
	for _, r := range e.residents {
		if r != nil {
			r.free(d)
		}
	}
	if e.model != nil {
		e.model.free(d)
	}
	if e.slots != nil {
		d.Free(e.slots.buffer)
	}
	for _, b := range slices.Concat(e.arena.all(), e.tape.all(), e.cacheBuffers) {
		d.Free(b)
	}
	for i := range e.frames.ring {
		e.frames.ring[i].free(d)
	}
	return nil
}

// Context is the longest sequence in tokens.
func (e *Engine) Context() int { return e.config.Context }

// MaxRows is the most rows of a step.
func (e *Engine) MaxRows() int { return e.config.MaxRows }

// TrainRows is the most training rows of a step; 0 without training.
func (e *Engine) TrainRows() int { return e.config.TrainRows }

// CacheBlocks is the number of blocks of the KV cache.
func (e *Engine) CacheBlocks() int { return e.config.CacheBlocks }

// Slots is the number of adapter slots.
func (e *Engine) Slots() int { return e.config.Slots }

// Precision is what the engine computes with.
func (e *Engine) Precision() Precision { return e.precision }

// Model is the base's configuration.
func (e *Engine) Model() weights.Config { return e.checkpointConfig }

// Family is the name of the kernel family in use.
func (e *Engine) Family() string { return e.kernels.Tuning.Name }

// Used is the number of bytes of device memory in use.
func (e *Engine) Used() uint64 { return e.device.Used() }
