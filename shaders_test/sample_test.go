package shaders_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// doubt is a margin of the oracle's below which a device may choose otherwise:
// the errors of float32 sums, exp and log.
const doubt = 1e-4

// draw is a row to sample: its logits, and how.
type draw struct {
	ref.Sampling
	logits []float32
	topN   int
	target int // -1: choose
}

// sampled is what the kernel answers for a row: the token and the top n, and
// their log-probabilities.
type sampled struct {
	ids  []int32
	logs []float64
}

func neutral() ref.Sampling { return ref.Sampling{TopP: 1, Repetition: 1} }

func choose(s ref.Sampling, logits []float32) draw {
	return draw{Sampling: s, logits: logits, target: -1}
}

// sampleTunings are workgroup sizes; the tunings' own are among them.
func sampleTunings(t *testing.T) []shaders.Tuning {
	all := shaders.Tunings()
	for _, wg := range few() {
		other := tuning(t, "gpu")
		other.SampleWorkgroup = wg
		all = append(all, other)
	}
	return all
}

// sample runs rows of one vocabulary, by one workgroup for each and by several,
// which must answer the same. Rows lie in the logits in reverse order.
func (b *bench) sample(k *engine.Kernels, rows []draw) []sampled {
	b.Helper()
	one := b.sampleSplit(k, rows, 1)
	for i, several := range b.sampleSplit(k, rows, 3) {
		require.Equal(b, one[i].ids, several.ids)
		requireClose(b.T, one[i].logs, several.logs, weights.F32)
	}
	return one
}

func (b *bench) sampleSplit(k *engine.Kernels, rows []draw, splits int) []sampled {
	b.Helper()
	vocab, stride := len(rows[0].logits), 1
	var params []engine.SampleRow
	var edits []engine.SampleEdit
	logits := make([]float32, 0, len(rows)*vocab)
	for i, r := range rows {
		stride = max(stride, r.topN+1)
		params = append(params, engine.SampleRow{
			Temperature: r.Temperature, TopK: uint32(r.TopK), TopP: r.TopP, MinP: r.MinP,
			Repetition: r.Repetition, Presence: r.Presence, Frequency: r.Frequency,
			SeedLow: uint32(r.Seed), SeedHigh: uint32(r.Seed >> 32), Step: r.Step,
			EditsAt: uint32(len(edits)), Edits: uint32(len(r.Edits)), TopN: uint32(r.topN),
			Target: int32(r.target), LogitsRow: uint32(len(rows) - 1 - i),
		})
		for _, e := range r.Edits {
			seen := uint32(e.Times)
			if e.InPrompt {
				seen |= 1 << 31
			}
			edits = append(edits, engine.SampleEdit{Token: uint32(e.Token), Seen: seen, Bias: e.Bias})
		}
		logits = append(logits, rows[len(rows)-1-i].logits...)
	}
	l, ids, logs := b.holding(encode(logits, weights.F32)), b.blank(4*stride*len(rows)), b.blank(4*stride*len(rows))
	op := engine.Sample{
		Logits: l.Range, Params: b.holding(vk.Bytes(params)).Range, IDs: ids.Range, Logs: logs.Range,
		Rows: len(rows), LogitsRows: len(rows), Vocab: vocab, Stride: stride, Splits: splits,
	}
	shares, counts := b.blank(32*len(rows)*splits), b.holding(make([]byte, 4*len(rows)))
	op.Shares, op.Counts = shares.Range, counts.Range
	outputs := []*output{l, ids, logs, shares, counts}
	if len(edits) > 0 {
		e := b.holding(vk.Bytes(edits))
		op.Edits, outputs = e.Range, append(outputs, e)
	}
	b.dispatch(func(rec *vk.Recorder) error { return k.Sample(rec, op) }, outputs...)
	allIDs, allLogs := ids.integers(b), logs.numbers(b, weights.F32)
	out := make([]sampled, len(rows))
	for i, r := range rows {
		out[i] = sampled{allIDs[i*stride:][:r.topN+1], allLogs[i*stride:][:r.topN+1]}
	}
	return out
}

// checkSampled compares with the oracle and tells whether the oracle was sure
// of the token.
func checkSampled(t *testing.T, r draw, got sampled, what ...any) bool {
	t.Helper()
	logs := ref.LogProbabilities(r.logits)
	token := int(got.ids[0])
	sure := true
	if r.target >= 0 {
		require.Equal(t, r.target, token, what...)
	} else {
		c := r.Choose(r.logits)
		if sure = c.Margin > doubt; sure {
			require.Equal(t, c.Token, token, what...)
		}
	}
	require.True(t, token >= 0 && token < len(logs), what...)
	want := []float64{logs[token]}
	for i, id := range ref.Ranked(r.logits)[:r.topN] {
		require.EqualValues(t, id, got.ids[1+i], what...)
		want = append(want, logs[id])
	}
	requireClose(t, want, got.logs, weights.F32, what...)
	return sure
}

// logitsLike draws logits as language models have them: a few large ones.
func (b *bench) logitsLike(vocab int) []float32 { return b.normal(vocab, 3, weights.F32) }

// samplings are the options one by one and together.
func samplings() map[string]ref.Sampling {
	all := map[string]ref.Sampling{}
	add := func(name string, change func(s *ref.Sampling)) {
		s := neutral()
		s.Temperature = 1
		change(&s)
		all[name] = s
	}
	add("greedy", func(s *ref.Sampling) { s.Temperature = 0 })
	add("greedy, whatever is kept", func(s *ref.Sampling) { s.Temperature, s.TopK, s.TopP, s.MinP = 0, 2, 0.5, 0.1 })
	add("temperature 1", func(s *ref.Sampling) {})
	add("temperature 0.3", func(s *ref.Sampling) { s.Temperature = 0.3 })
	add("temperature 2.5", func(s *ref.Sampling) { s.Temperature = 2.5 })
	add("top-k 1", func(s *ref.Sampling) { s.TopK = 1 })
	add("top-k 5", func(s *ref.Sampling) { s.TopK, s.Temperature = 5, 2 })
	add("top-k of more than there are", func(s *ref.Sampling) { s.TopK = 100000 })
	add("top-p 0", func(s *ref.Sampling) { s.TopP = 0 })
	add("top-p 0.5", func(s *ref.Sampling) { s.TopP = 0.5 })
	add("top-p 0.95", func(s *ref.Sampling) { s.TopP, s.Temperature = 0.95, 1.5 })
	add("min-p 0.1", func(s *ref.Sampling) { s.MinP, s.Temperature = 0.1, 2 })
	add("all three", func(s *ref.Sampling) { s.TopK, s.TopP, s.MinP, s.Temperature = 20, 0.9, 0.02, 1.3 })
	return all
}

func TestSampleEveryOption(t *testing.T) {
	for _, tuning := range sampleTunings(t) {
		b, k := newBench(t, 17), kernels(t, tuning, weights.F32, weights.F32)
		rows, sure := 0, 0
		for _, vocab := range []int{7, 133, 513} {
			var draws []draw
			var names []string
			all := samplings()
			for _, name := range slices.Sorted(maps.Keys(all)) {
				s := all[name]
				for step := range uint32(6) {
					s.Seed, s.Step = 0x123456789abcdef0, step
					d := choose(s, b.logitsLike(vocab))
					d.topN = int(step) % 5
					draws, names = append(draws, d), append(names, name)
				}
			}
			for i, got := range b.sample(k, draws) {
				rows++
				if checkSampled(t, draws[i], got, fmt.Sprintf("%s, vocabulary %d, workgroup %d", names[i], vocab, tuning.SampleWorkgroup)) {
					sure++
				}
			}
		}
		assert.Greater(t, float64(sure), 0.95*float64(rows), "rows in which the oracle is sure")
	}
}

func TestSampleWithEdits(t *testing.T) {
	for _, tuning := range sampleTunings(t) {
		b, k := newBench(t, 18), kernels(t, tuning, weights.F32, weights.F32)
		var draws []draw
		for i := range 40 {
			s := neutral()
			s.Temperature = float32(i%2) * 0.8
			s.Repetition, s.Presence, s.Frequency = []float32{1, 1.3, 0.7}[i%3], float32(i%4)*0.3, float32(i%5)*0.2
			s.Seed, s.TopK = uint64(i), i%7
			logits := b.logitsLike(133)
			for j, token := range b.Perm(133)[:i%9*7] {
				e := ref.Edit{Token: token, Times: j % 3, InPrompt: j%2 == 0, Bias: []float32{0, 0, -100, 1.5}[j%4]}
				s.Edits = append(s.Edits, e)
			}
			d := choose(s, logits)
			d.topN = i % 4 // of the raw logits
			draws = append(draws, d)
		}
		sure := 0
		for i, got := range b.sample(k, draws) {
			if checkSampled(t, draws[i], got, fmt.Sprintf("row %d, workgroup %d", i, tuning.SampleWorkgroup)) {
				sure++
			}
		}
		assert.Greater(t, sure, 36, "rows in which the oracle is sure")
	}
}

func TestSampleBiasForcesAndBans(t *testing.T) {
	b, k := newBench(t, 19), kernels(t, tuning(t, "software"), weights.F32, weights.F32)
	logits := b.logitsLike(133)
	best := ref.Ranked(logits)[0]
	forced, banned := neutral(), neutral()
	forced.Temperature, banned.Temperature = 1, 1
	forced.Edits = []ref.Edit{{Token: 77, Bias: 100}}
	banned.Edits = []ref.Edit{{Token: best, Bias: -100}}
	for step := range uint32(20) {
		forced.Step, banned.Step = step, step
		got := b.sample(k, []draw{choose(forced, logits), choose(banned, logits)})
		assert.EqualValues(t, 77, got[0].ids[0])
		assert.NotEqualValues(t, best, got[1].ids[0])
		requireClose(t, ref.LogProbabilities(logits)[77:78], got[0].logs, weights.F32, "of the raw logits")
	}
}

func TestSampleScoresATarget(t *testing.T) {
	for _, tuning := range shaders.Tunings() {
		b, k := newBench(t, 20), kernels(t, tuning, weights.F32, weights.F32)
		var draws []draw
		for i := range 7 {
			draws = append(draws, draw{Sampling: neutral(), logits: b.logitsLike(513), target: i * 85, topN: i})
		}
		for i, got := range b.sample(k, draws) {
			checkSampled(t, draws[i], got, tuning.Name)
		}
	}
}

func TestSampleBreaksTiesByTheLowestID(t *testing.T) {
	logits := make([]float32, 133)
	for _, i := range []int{131, 40, 9, 77} {
		logits[i] = 2
	}
	for _, tuning := range sampleTunings(t) {
		b, k := newBench(t, 21), kernels(t, tuning, weights.F32, weights.F32)
		d := choose(neutral(), logits)
		d.topN = 6
		got := b.sample(k, []draw{d})[0]
		assert.Equal(t, []int32{9, 9, 40, 77, 131, 0, 1}, got.ids, tuning.SampleWorkgroup)
	}
}

// Tokens that tie with the last one kept are all kept.
func TestSampleKeepsTies(t *testing.T) {
	logits := make([]float32, 133)
	for _, i := range []int{131, 40, 9, 77} {
		logits[i] = 9
	}
	b, k := newBench(t, 22), kernels(t, tuning(t, "software"), weights.F32, weights.F32)
	var draws []draw
	for step := range uint32(200) {
		s := neutral()
		s.Temperature, s.TopK, s.Step = 1, 2, step
		draws = append(draws, choose(s, logits))
	}
	seen := map[int32]int{}
	for i, got := range b.sample(k, draws) {
		checkSampled(t, draws[i], got)
		seen[got.ids[0]]++
	}
	assert.Len(t, seen, 4)
	for token, times := range seen {
		assert.Greater(t, times, 25, "token %d", token)
	}
}

// The same seed and step give the same token in any row and workgroup size.
func TestSampleDependsOnSeedAndStepAlone(t *testing.T) {
	want := map[int]int32{}
	for i, tuning := range sampleTunings(t) {
		b, k := newBench(t, 23), kernels(t, tuning, weights.F32, weights.F32)
		logits := b.logitsLike(133)
		var draws []draw
		order := rand.New(rand.NewPCG(uint64(i), 1)).Perm(64)
		for _, n := range order {
			s := neutral()
			s.Temperature, s.Seed, s.Step = 3, uint64(n/8)<<33|5, uint32(n%8)
			draws = append(draws, choose(s, logits))
		}
		for i, got := range b.sample(k, draws) {
			token, known := want[order[i]]
			if !known {
				want[order[i]] = got.ids[0]
				continue
			}
			require.Equal(t, token, got.ids[0], "draw %d, workgroup %d", order[i], tuning.SampleWorkgroup)
		}
	}
	distinct := map[int32]bool{}
	for _, token := range want {
		distinct[token] = true
	}
	assert.Greater(t, len(distinct), 20, "seeds and steps make a difference")
}

// The frequencies of many draws are the oracle's probabilities, by Pearson's
// chi-square at a level of about 1e-6: the seed is fixed, so this is no gamble.
func TestSampleDrawsFromTheDistribution(t *testing.T) {
	const rows = 20000
	for name, change := range map[string]func(*ref.Sampling){
		"all":      func(s *ref.Sampling) {},
		"filtered": func(s *ref.Sampling) { s.TopK, s.TopP, s.MinP = 20, 0.9, 0.02 },
	} {
		b, k := newBench(t, 24), kernels(t, tuning(t, "software"), weights.F32, weights.F32)
		logits := b.normal(33, 1.5, weights.F32)
		s := neutral()
		s.Temperature = 1.2
		change(&s)
		chance := s.Choose(logits).Chance
		times := make([]float64, len(logits))
		draws := make([]draw, rows)
		for i := range draws {
			s.Step = uint32(i)
			draws[i] = choose(s, logits)
		}
		for _, got := range b.sample(k, draws) {
			require.True(t, got.ids[0] >= 0 && int(got.ids[0]) < len(logits), "token %d", got.ids[0])
			times[got.ids[0]]++
		}
		square, degrees := 0.0, -1.0
		for i, p := range chance {
			if p == 0 {
				require.Zero(t, times[i], "%s: token %d is not kept", name, i)
				continue
			}
			square += (times[i] - rows*p) * (times[i] - rows*p) / (rows * p)
			degrees++
		}
		assert.Less(t, square, degrees+5*math.Sqrt(2*degrees)+10, name)
	}
}

// A token of no chance is never drawn, whatever its random number: with the
// largest variates a rounding error would make it infinitely likely.
func TestSampleNeverDrawsTheImpossible(t *testing.T) {
	const vocab, rows = 4096, 512
	b, k := newBench(t, 25), kernels(t, tuning(t, "software"), weights.F32, weights.F32)
	logits := make([]float32, vocab)
	for i := range logits {
		logits[i] = -80
	}
	logits[vocab-1] = 0
	s := neutral()
	s.Temperature = 1
	// A counter whose random number is among the largest or smallest there are.
	var draws []draw
	for step := uint32(0); len(draws) < rows; step++ {
		for token := range uint32(vocab) {
			if u := ref.Philox([4]uint32{token, step}, 0)[0]; u>>8 == 1<<24-1 || u>>8 == 0 {
				s.Step = step
				draws = append(draws, choose(s, logits))
				break
			}
		}
		if step == 1<<14 {
			break
		}
	}
	require.NotEmpty(t, draws)
	for _, got := range b.sample(k, draws) {
		assert.EqualValues(t, vocab-1, got.ids[0])
	}
}

func TestSampleNaNLogitsGiveNoToken(t *testing.T) {
	for _, tuning := range shaders.Tunings() {
		b, k := newBench(t, 26), kernels(t, tuning, weights.F32, weights.F32)
		logits := make([]float32, 133)
		for i := range logits {
			logits[i] = float32(nan)
		}
		hot := neutral()
		hot.Temperature, hot.TopP, hot.TopK = 1, 0.9, 5
		for _, got := range b.sample(k, []draw{choose(neutral(), logits), choose(hot, logits)}) {
			assert.EqualValues(t, -1, got.ids[0], tuning.Name)
		}
	}
}

// BenchmarkSample is the device time of a row's pick from a large vocabulary.
func BenchmarkSample(b *testing.B) {
	const vocab = 128256
	hot := neutral()
	hot.Temperature = 0.8
	narrow := hot
	narrow.TopK, narrow.TopP = 40, 0.95
	random := rand.New(rand.NewPCG(27, 0))
	logits := make([]float32, 64*vocab)
	for i := range logits {
		logits[i] = float32(3 * random.NormFloat64())
	}
	for name, s := range map[string]ref.Sampling{"greedy": neutral(), "temperature": hot, "top-p": narrow} {
		for _, rows := range []int{1, 32, 64} {
			b.Run(fmt.Sprintf("%s/rows=%d", name, rows), func(b *testing.B) { benchSample(b, s, logits[:rows*vocab], rows) })
		}
	}
}

func benchSample(b *testing.B, s ref.Sampling, logits []float32, rows int) {
	own, err := engine.TuningFor(device.Info, "")
	require.NoError(b, err)
	k, err := engine.NewKernels(device, own, weights.F32, weights.F32)
	require.NoError(b, err)
	var params []engine.SampleRow
	for i := range rows {
		params = append(params, engine.SampleRow{
			Temperature: s.Temperature, TopK: uint32(s.TopK), TopP: s.TopP, MinP: s.MinP, Repetition: 1, Target: -1, LogitsRow: uint32(i), Step: uint32(i),
		})
	}
	holding := func(data []byte) vk.Range {
		buffer, err := device.Alloc(vk.Local, uint64(len(data)))
		require.NoError(b, err)
		b.Cleanup(func() { device.Free(buffer) })
		require.NoError(b, device.Write(buffer, 0, buffer.Size, func(dst []byte, at uint64) error {
			copy(dst, data[at:])
			return nil
		}))
		return buffer.All()
	}
	op := engine.Sample{
		Logits: holding(vk.Bytes(logits)), Params: holding(vk.Bytes(params)), IDs: holding(make([]byte, 4*rows)), Logs: holding(make([]byte, 4*rows)),
		Shares: holding(make([]byte, k.SampleScratch(rows))), Counts: holding(make([]byte, 4*rows)),
		Rows: rows, LogitsRows: rows, Vocab: len(logits) / rows, Stride: 1,
	}
	rec := device.NewRecorder(true)
	var spent time.Duration
	for range b.N {
		rec.Reset()
		require.NoError(b, k.Sample(rec, op))
		require.NoError(b, rec.Run())
		timings, err := rec.Timings()
		require.NoError(b, err)
		spent += timings[0].Time
	}
	b.ReportMetric(float64(spent.Nanoseconds())/1e3/float64(b.N), "device-us/op")
}
