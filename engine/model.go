package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// model is a base model in device memory: a table of layers and their
// tensors. It is read-only once loaded.
type model struct {
	config    weights.Config
	embedding vk.Buffer // [vocab, hidden] in the weight type
	norm      vk.Buffer // float32, as all vectors
	head      Product
	turns     vk.Buffer // cos and sin of every position: [context, head size]
	layers    []layer
	buffers   []vk.Buffer
}

type layer struct {
	attentionNorm, mlpNorm vk.Buffer
	qNorm, kNorm           vk.Buffer // no buffer where the model has none
	products               [groups]Product
	window                 int
}

// loader streams a checkpoint's tensors to a device.
type loader struct {
	device     *vk.Device
	kernels    *Kernels
	checkpoint *weights.Checkpoint
	precision  Precision
	slots      *slotTable
	model      *model
	progress   func(done, total int64)
	ctx        context.Context // loading ends when it is done
	done       int64
}

func (l *loader) load(context int) (*model, error) {
	c := l.checkpoint.Config
	l.model = &model{config: c}
	err := firstError(l.outer(context), l.allLayers())
	if err != nil {
		l.model.free(l.device)
		return nil, err
	}
	return l.model, nil
}

// outer loads what is not in a layer.
func (l *loader) outer(context int) (err error) {
	c, m := l.checkpoint.Config, l.model
	if m.embedding, err = l.matrix("model.embed_tokens.weight"); err != nil {
		return err
	}
	if m.norm, err = l.vector("model.norm.weight"); err != nil {
		return err
	}
	head := m.embedding
	if !c.Tied {
		if head, err = l.matrix("lm_head.weight"); err != nil {
			return err
		}
	}
	m.head = Product{Weights: []vk.Range{head.All()}, In: c.HiddenSize, Outs: []int{c.VocabSize}}
	if m.head.Table, err = l.parts([]part{{w: head.Address, n: uint32(c.VocabSize)}}); err != nil {
		return err
	}
	m.turns, err = l.floats("rotary table", turns(c, context))
	return err
}

func (l *loader) allLayers() error {
	for i := range l.checkpoint.Config.Layers {
		made, err := l.layer(i)
		if err != nil {
			return err
		}
		l.model.layers = append(l.model.layers, made)
	}
	return nil
}

func (l *loader) layer(i int) (out layer, err error) {
	c, prefix := l.checkpoint.Config, fmt.Sprintf("model.layers.%d.", i)
	if out.attentionNorm, err = l.vector(prefix + "input_layernorm.weight"); err != nil {
		return out, err
	}
	if out.mlpNorm, err = l.vector(prefix + "post_attention_layernorm.weight"); err != nil {
		return out, err
	}
	if c.QKNorm {
		if out.qNorm, err = l.vector(prefix + "self_attn.q_norm.weight"); err != nil {
			return out, err
		}
		if out.kNorm, err = l.vector(prefix + "self_attn.k_norm.weight"); err != nil {
			return out, err
		}
	}
	if len(c.LayerWindow) > i {
		out.window = c.LayerWindow[i]
	}
	for g := range groups {
		if out.products[g], err = l.product(i, prefix, g); err != nil {
			return out, err
		}
	}
	return out, nil
}

// part mirrors Part in smlm.glsl.
type part struct {
	w, bias, slots uint64
	n, offset      uint32
}

func (l *loader) product(index int, prefix string, g group) (Product, error) {
	var p Product
	var table []part
	offset := 0
	for _, m := range g.members() {
		out, in := m.Dims(l.checkpoint.Config)
		w, err := l.matrix(prefix + m.Path() + ".weight")
		if err != nil {
			return p, err
		}
		row := part{w: w.Address, slots: l.slots.row(index, m), n: uint32(out), offset: uint32(offset)}
		if _, ok := l.checkpoint.Tensor(prefix + m.Path() + ".bias"); ok {
			bias, err := l.vector(prefix + m.Path() + ".bias")
			if err != nil {
				return p, err
			}
			row.bias = bias.Address
		}
		p.In, p.Outs, p.Weights = in, append(p.Outs, out), append(p.Weights, w.All())
		table = append(table, row)
		offset += out
	}
	var err error
	p.Table, err = l.parts(table)
	return p, err
}

func (l *loader) parts(table []part) (vk.Range, error) {
	buf, err := l.alloc(uint64(len(table) * partBytes))
	if err != nil {
		return vk.Range{}, err
	}
	data := vk.Bytes(table)
	return buf.All(), l.device.Write(buf, 0, buf.Size, func(dst []byte, at uint64) error {
		copy(dst, data[at:])
		return nil
	})
}

func (l *loader) alloc(size uint64) (vk.Buffer, error) {
	buf, err := l.device.Alloc(vk.Local, size)
	if err == nil {
		l.model.buffers = append(l.model.buffers, buf)
	}
	return buf, err
}

// matrix streams a tensor in the weight type.
func (l *loader) matrix(name string) (vk.Buffer, error) { return l.tensor(name, l.precision.Weight) }

// vector streams a tensor as float32: norms and biases are small, and every
// kernel takes them so.
func (l *loader) vector(name string) (vk.Buffer, error) { return l.tensor(name, weights.F32) }

func (l *loader) tensor(name string, as weights.DType) (vk.Buffer, error) {
	t, ok := l.checkpoint.Tensor(name)
	if !ok {
		return vk.Buffer{}, fmt.Errorf("BUG: tensor %s was not checked", name)
	}
	buf, err := l.alloc(uint64(t.Elements() * as.Size()))
	if err != nil {
		return buf, fmt.Errorf("load %s: %w", name, err)
	}
	if t.Random != nil {
		return buf, l.draw(buf, t, as)
	}
	if err := writeTensor(l.device, buf, 0, t, as, l.report); err != nil {
		return buf, err
	}
	return buf, nil
}

// draw makes a random tensor's numbers on the device.
func (l *loader) draw(buf vk.Buffer, t weights.Tensor, as weights.DType) error {
	rec := l.device.NewRecorder(false)
	if err := firstError(l.kernels.draw(rec, buf.All(), t, as), rec.Run()); err != nil {
		return fmt.Errorf("make %s: %w", t.Name, err)
	}
	return l.report(t.Bytes())
}

// report tells of progress, and whether to go on.
func (l *loader) report(bytes int) error {
	l.done += int64(bytes)
	if l.progress != nil {
		l.progress(l.done, l.checkpoint.Bytes())
	}
	return l.ctx.Err()
}

func (l *loader) floats(what string, values []float32) (vk.Buffer, error) {
	buf, err := l.alloc(uint64(4 * len(values)))
	if err != nil {
		return buf, fmt.Errorf("%s: %w", what, err)
	}
	data := vk.Bytes(values)
	return buf, l.device.Write(buf, 0, buf.Size, func(dst []byte, at uint64) error {
		copy(dst, data[at:])
		return nil
	})
}

// writeTensor streams a tensor into a buffer from an offset in bytes,
// converting piece by piece, so that the host never holds a second copy.
func writeTensor(device *vk.Device, buf vk.Buffer, offset uint64, t weights.Tensor, as weights.DType, report func(int) error) error {
	from, to := uint64(t.DType.Size()), uint64(as.Size())
	size := uint64(len(t.Data)) / from * to
	return device.Write(buf, offset, size, func(dst []byte, at uint64) error {
		const piece = 1 << 20 // a progress bar moves, a cache stays warm
		for len(dst) > 0 {
			n := min(uint64(len(dst)), piece)
			src := t.Data[at/to*from : (at+n)/to*from]
			weights.Convert(dst[:n], as, src, t.DType)
			if as == weights.F16 && t.DType != weights.F16 && overflows(dst[:n]) {
				return fmt.Errorf("tensor %s of %s holds values beyond float16's range (65504): use --dtype bf16 or f32", t.Name, t.File)
			}
			if err := report(len(src)); err != nil {
				return err
			}
			dst, at = dst[n:], at+n
		}
		return nil
	})
}

// overflows tells whether half-precision numbers hold an infinity.
func overflows(halves []byte) bool {
	for i := 0; i < len(halves); i += 2 {
		if binary.LittleEndian.Uint16(halves[i:])&0x7fff == 0x7c00 {
			return true
		}
	}
	return false
}

// turns tabulates the rotary embedding: for each position, cos of its angles,
// then sin. Computed in float64, since shader trigonometry is only exact to 2^-11.
func turns(c weights.Config, context int) []float32 {
	frequencies := c.InverseFrequencies()
	half := len(frequencies)
	table := make([]float32, context*2*half)
	for p := range context {
		row := table[p*2*half:]
		for i, f := range frequencies {
			sin, cos := math.Sincos(float64(p) * f)
			row[i], row[half+i] = float32(cos), float32(sin)
		}
	}
	return table
}

func (m *model) free(device *vk.Device) {
	for _, b := range m.buffers {
		device.Free(b)
	}
	m.buffers = nil
}
