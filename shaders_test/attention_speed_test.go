package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// attentionOf is attention and its gradient of a number of prompts of a length.
func (s *speed) attentionOf(h engine.Heads, prompts, length int) (engine.AttentionPrefill, engine.AttentionGrad) {
	rows, blocks := prompts*length, prompts*length/batch.BlockSize
	var table, list []int32
	for i := range blocks {
		table = append(table, int32(i))
	}
	for i := range prompts {
		list = append(list, int32(i*length), int32(length), 0, int32(i*length/batch.BlockSize))
	}
	width, cells := rows*h.Query*h.Size, rows*h.Key*h.Size
	forward := engine.AttentionPrefill{
		Attention: engine.Attention{
			Heads: h, Cache: engine.Cache{Keys: s.numbers(cells, s.act), Values: s.numbers(cells, s.act), Blocks: blocks},
			Q: s.numbers(width, weights.F32), Y: s.numbers(width, s.act), Tables: s.integers(table), Rows: rows,
		},
		Tiles: s.integers(list), Count: prompts, Longest: length, Span: length, Stats: s.numbers(rows*h.Query, weights.F32),
	}
	a := forward.Attention
	return forward, engine.AttentionGrad{
		Heads: h, Cache: a.Cache, Q: a.Q, Y: a.Y, DY: s.numbers(width, weights.F32), Stats: forward.Stats,
		Delta: s.numbers(rows*h.Query, weights.F32), D: s.numbers(3*width, weights.F32), // in as many shares as there are heads
		Tiles: forward.Tiles, Tables: a.Tables, Count: prompts, Longest: length, Span: length, Rows: rows,
	}
}

func TestSpeedOfAttention(t *testing.T) {
	s := newSpeed(t)
	k := s.kernels(func(*shaders.Tuning) {})
	for _, c := range []struct{ prompts, length, head int }{{1, 512, 128}, {1, 2048, 128}, {1, 1024, 128}, {4, 1024, 128}, {1, 2048, 64}} {
		forward, backward := s.attentionOf(engine.Heads{Query: 32, Key: 8, Size: c.head}, c.prompts, c.length)
		what := fmt.Sprintf("%d x %d, head %d", c.prompts, c.length, c.head)
		s.time("attention_prefill "+what, func(rec *vk.Recorder) error { return k.AttentionPrefill(rec, forward) })
		s.time("attention_grad_q "+what, func(rec *vk.Recorder) error { return k.AttentionGradQ(rec, backward) })
		backward.Shares = k.GradShares(backward)
		s.time(fmt.Sprintf("attention_grad_kv %s, %d shares", what, backward.Shares), func(rec *vk.Recorder) error { return k.AttentionGradKV(rec, backward) })
	}
}
