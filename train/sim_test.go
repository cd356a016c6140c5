package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine/batch"
	"loquetier/virtualmod"
)

// device stands in for slots that are trained: each adapter is one number,
// which the loss and the gradient depend on.
type device map[int]*sim

// sim is one adapter on its device.
type sim struct {
	slot   int
	poison func(update int) bool // whose gradients are not finite
	simState
}

type simState struct {
	Weight   float64
	Moment   float64
	Gradient float32 // of the sums so far
	Updates  int
	Applied  int // of the updates: those that changed the weight
}

func (s *sim) Slot() int { return s.slot }

func (s *sim) Snapshot() (func() (*virtualmod.Adapter, []byte, error), error) {
	now := s.simState
	return func() (*virtualmod.Adapter, []byte, error) {
		state, err := json.Marshal(now)
		return &virtualmod.Adapter{Name: fmt.Sprint(now.Weight)}, state, err
	}, nil
}

func (s *sim) Restore(state []byte) error { return json.Unmarshal(state, &s.simState) }

// logProb is what the model gives a target after a token.
func (s *sim) logProb(token, target int32) float32 {
	x := float64(token)*0.37 + float64(target)*0.11
	return float32(-2 - math.Sin(x+s.Weight)/3 - s.Weight*s.Weight/10)
}

func (s *sim) run(span batch.Span) []batch.Pick {
	var picks []batch.Pick
	for _, w := range span.Wants {
		p := s.logProb(span.Tokens[w.Row], w.Target)
		if span.Kind == batch.Train {
			s.Gradient += p * float32(w.Target)
			if s.poison != nil && s.poison(s.Updates) {
				p, s.Gradient = float32(math.NaN()), float32(math.Inf(1))
			}
		}
		picks = append(picks, batch.Pick{Token: w.Target, LogProb: p})
	}
	return picks
}

func (s *sim) update(u batch.Update) float64 {
	g := float64(s.Gradient) / float64(u.Targets)
	s.Gradient = 0
	s.Updates++
	if Number(g).finite() {
		s.Applied++
		s.Moment = u.Beta1*s.Moment + (1-u.Beta1)*g
		s.Weight -= u.LR * s.Moment / (1 - math.Pow(u.Beta1, float64(u.Step)))
	}
	return math.Abs(g)
}

// step lets a job offer work and answers it; it checks what was offered, and waits until
// what the job saves is written.
func (d device) step(t *testing.T, j *Job, rows, blocks int) ([]batch.Span, []batch.Update) {
	t.Helper()
	spans, updates := j.Next(rows, blocks)
	d.answer(t, j, spans, updates, rows, blocks)
	written(j)
	return spans, updates
}

// written waits for what a job saves, and for its end where it has no more work.
func written(j *Job) {
	if j.Done() {
		<-j.Ended()
		return
	}
	for _, s := range j.saves {
		<-s.done
	}
}

// answer answers what a job has offered.
func (d device) answer(t *testing.T, j *Job, spans []batch.Span, updates []batch.Update, rows, blocks int) {
	t.Helper()
	picks := make([][]batch.Pick, len(spans))
	for i, s := range spans {
		require.Contains(t, d, s.Slot)
		require.Zero(t, s.Position)
		require.GreaterOrEqual(t, len(s.Tokens), 2)
		rows -= len(s.Tokens)
		blocks -= (len(s.Tokens) + batch.BlockSize - 1) / batch.BlockSize
		picks[i] = d[s.Slot].run(s)
	}
	require.GreaterOrEqual(t, rows, 0)
	require.GreaterOrEqual(t, blocks, 0)
	require.LessOrEqual(t, len(updates), 1)
	var norms []float64
	for _, u := range updates {
		require.NotEmpty(t, spans)
		require.Equal(t, batch.Train, spans[0].Kind)
		require.Equal(t, d[u.Slot].Applied+1, u.Step)
		norms = append(norms, d[u.Slot].update(u))
	}
	if len(spans) > 0 {
		j.Commit(picks, norms)
	}
}

// drive runs a job to its end, with so much room in every step.
func (d device) drive(t *testing.T, j *Job, rows, blocks int) {
	t.Helper()
	for !j.Done() {
		spans, _ := d.step(t, j, rows, blocks)
		require.True(t, len(spans) > 0 || j.Done(), "the job offers nothing but has not ended")
	}
}

// examples are n sequences of random lengths and targets; some have none.
func examples(n int) *Dataset {
	d := &Dataset{Name: "data/x.jsonl"}
	for i := range n {
		ids := make([]int32, 1+(7+i*101)%37)
		for k := range ids {
			ids[k] = int32(1 + (i*131+k*17)%97)
		}
		e := continuation(ids, i%5)
		if i%4 == 1 && len(ids) > 3 {
			e.Targets[len(ids)-1] = false
		}
		e.Line = i + 1
		d.Examples = append(d.Examples, e)
	}
	return d
}

// config is a small job in a folder of its own.
func config(t *testing.T) (Config, device) {
	t.Helper()
	s := DefaultSettings()
	s.Epochs, s.Steps, s.MicroBatch, s.Accumulate, s.EvalEvery, s.SaveEvery = 0, 9, 3, 2, 3, 2
	s.LR, s.Warmup = 0.01, 2
	d := device{4: {slot: 4}}
	c := Config{
		Settings: s, Data: examples(13), Eval: examples(5), Out: filepath.Join(t.TempDir(), "out"),
		Base: "sha256:1", Context: 64, Rows: 64, Blocks: 8, Trainee: d[4], disk: quick{},
	}
	c.WriteAdapter = adapterWriter(quick{})
	return c, d
}

// quick is the real disk, but waits for nothing.
type quick struct{}

func (quick) MakeDir(dir string) error { return os.MkdirAll(dir, 0o700) }

func (quick) Write(path string, write func(io.Writer) error) error {
	var data bytes.Buffer
	return errors.Join(write(&data), os.WriteFile(path, data.Bytes(), 0o600))
}

func (quick) Rename(from, to string) error { return os.Rename(from, to) }

func (quick) Sync(*os.File) error { return nil }

func (quick) RemoveAll(path string) error { return os.RemoveAll(path) }

// adapterWriter writes a stand-in of an adapter's files.
func adapterWriter(d disk) func(*virtualmod.Adapter, string) error {
	return func(a *virtualmod.Adapter, dir string) error {
		return errors.Join(
			d.Write(filepath.Join(dir, modelFile), whole([]byte("weights "+a.Name))),
			d.Write(filepath.Join(dir, configFile), whole([]byte("config"))))
	}
}

func newTestJob(t *testing.T, c Config) *Job {
	t.Helper()
	j, err := NewJob(c)
	require.NoError(t, err)
	return j
}

// trained runs a job to its end without an error.
func trained(t *testing.T, c Config, d device) *Job {
	t.Helper()
	j := newTestJob(t, c)
	d.drive(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	return j
}

// logged is the log in a folder, without what depends on time.
func logged(t *testing.T, out string) []map[string]any {
	t.Helper()
	f, err := os.Open(filepath.Join(out, logFile))
	require.NoError(t, err)
	defer f.Close()
	var all []map[string]any
	for lines := json.NewDecoder(f); ; {
		var line map[string]any
		err := lines.Decode(&line)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		delete(line, "tokens_per_s")
		all = append(all, line)
	}
}

func read(t *testing.T, names ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(names...))
	require.NoError(t, err)
	return string(data)
}

var hashes = regexp.MustCompile(`sha256:[0-9a-f]{12}`)
