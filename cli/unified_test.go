package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vbauerster/mpb/v8"

	"loquetier/cli/replay"
	"loquetier/scheduler"
)

func readReport(t *testing.T, name string) (r replay.Report) {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &r))
	return r
}

// A short trace with adapters and a job, beside each other and apart.
func TestUnified(t *testing.T) {
	dir := t.TempDir()
	document, svg := filepath.Join(dir, "report.json"), filepath.Join(dir, "picture.svg")
	t.Setenv("TMPDIR", t.TempDir())
	o := call(t, "bench", "unified", "--model", "stories", "--trace", "../testdata/trace/short.csv", "--speed", "2", "--adapters", "2", "--compare",
		"--length", "16", "--micro-batch", "2", "--standalone", "200ms", "--ttft", "1m", "--itl", "1m", "--max-wait", "1m", "--json", document, "--svg", svg)
	require.Equal(t, exitOK, o.code, o.err)
	r := readReport(t, document)
	assert.Equal(t, []any{"short.csv", 2.0, "stories", 2, 1}, []any{r.Load, r.Speed, r.Model, r.Adapters, r.Jobs})
	for _, s := range []replay.Summary{r.Summary, *r.Without} {
		assert.Equal(t, []int{4, 4, 0, 0}, []int{s.Requests, s.Completed, s.Dropped, s.WaitOver6s})
		assert.Equal(t, []float64{1, 1}, []float64{s.Attainment, s.GapsWithin}, "nothing takes a minute")
		assert.True(t, 0 < s.TTFT.P50 && s.TTFT.P50 <= s.TTFT.P99 && 0 < s.ITL.P50 && s.ITL.P50 <= s.ITL.P99)
		assert.InEpsilon(t, 222*s.DecodeRate, 31*s.PrefillRate, 0.01, "prompts and outputs as in the trace")
	}
	assert.Zero(t, r.Without.TrainRate)
	assert.Positive(t, r.TrainAlone)
	assert.InDelta(t, r.TrainRate/r.TrainAlone, r.TrainShare, 1e-3)
	picture, err := os.ReadFile(svg)
	require.NoError(t, err)
	assert.Equal(t, 4, strings.Count(string(picture), `<circle class=""`))
	assert.Contains(t, o.out, "SLO: completed, first token within 1m0s of when it was due")
	assert.Regexp(t, `(?m)^ training alone, tokens/s +\d+\.\d$`, o.out, "in one column")
	assert.Regexp(t, `(?m)^ SLO attained +100\.00 % +100\.00 %$`, o.out)
	assert.Equal(t, "warm-up\nwarm-up\nrequests alone\ntraining alone\ntraining begins\nrequests and training\n", o.err)
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	assert.Empty(t, left, "the jobs' folders are gone")
}

// Requests that would wait too long, or in too long a queue, are dropped and counted.
func TestUnifiedDropsWhatWaitsTooLong(t *testing.T) {
	dir, begun := t.TempDir(), time.Now()
	document, decisions := filepath.Join(dir, "report.json"), filepath.Join(dir, "decisions.jsonl")
	succeedQuietly(t, "bench", "unified", "--model", "stories", "--load", "stable", "--requests", "12", "--speed", "10000", "--jobs", "0", "--cache-tokens", "1024", "--queue", "2",
		"--json", document, "--decisions", decisions)
	r := readReport(t, document)
	assert.Equal(t, 12, r.Completed+r.Dropped)
	assert.Positive(t, r.Completed)
	assert.Positive(t, r.Dropped)
	assert.Equal(t, r.Dropped, r.WaitOver6s)
	steps, err := os.ReadFile(decisions)
	require.NoError(t, err)
	all := decode[scheduler.Decision](t, string(steps))
	assert.Greater(t, len(all), 10)
	assert.True(t, slices.ContainsFunc(all, func(d scheduler.Decision) bool { return d.Prefill > 0 && d.Measured > 0 }))
	kept := newest(t, filepath.Join(cacheFolder(), "steps-*.json"))
	info, err := os.Stat(kept)
	require.NoError(t, err)
	require.False(t, info.ModTime().Before(begun.Truncate(time.Second)), "what was learned of steps is kept")
	text, err := os.ReadFile(kept)
	require.NoError(t, err)
	_, err = scheduler.LoadCost(text)
	assert.NoError(t, err)
}

// newest is the file that was written last.
func newest(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	written := func(name string) time.Time {
		info, err := os.Stat(name)
		require.NoError(t, err)
		return info.ModTime()
	}
	return slices.MaxFunc(files, func(a, b string) int { return written(a).Compare(written(b)) })
}

func TestUnifiedEndsWhatTakesTooLong(t *testing.T) {
	document := filepath.Join(t.TempDir(), "report.json")
	trace := write(t, "long.csv", "time,prompt,output\n0,5,1\n0,5,500\n0.1,5,500\n")
	succeedQuietly(t, "bench", "unified", "--model", "stories", "--trace", trace, "--jobs", "0", "--drain", "200ms", "--json", document)
	r := readReport(t, document)
	assert.Equal(t, []int{1, 1, 2}, []int{r.Requests, r.Completed, r.Cut})
}

// succeedQuietly runs the program, whatever progress it tells.
func succeedQuietly(t *testing.T, args ...string) {
	t.Helper()
	o := call(t, args...)
	require.Equal(t, exitOK, o.code, o.err)
}

func TestUnifiedRefuses(t *testing.T) {
	broken := write(t, "broken.csv", "time,prompt,output\n0,5,5\n1,5\n")
	for args, want := range map[string]string{
		"--load wild":                 `--load "wild": known are stable, mutable`,
		"--load stable --trace x.csv": "--load and --trace exclude each other",
		"--speed 0":                   `--speed "0": it takes 0.001 to 10000, max, or 1% to 100% of that`,
		"--speed -1":                  `--speed "-1": it takes 0.001 to 10000, max, or 1% to 100% of that`,
		"--speed fast":                `--speed "fast": it takes 0.001 to 10000, max, or 1% to 100% of that`,
		"--speed NaN":                 `--speed "NaN": it takes 0.001 to 10000, max, or 1% to 100% of that`,
		"--speed 101%":                `--speed "101%": it takes 0.001 to 10000, max, or 1% to 100% of that`,
		"--requests 0":                "--requests 0: it takes 1 to 1048576",
		"--duration 0s":               "--duration 0s: it takes 100ms to 24h",
		"--standalone -1s":            "--standalone -1s: it takes 100ms to 24h",
		"--jobs -1":                   "--jobs -1: it takes 0 to 1024",
		"--jobs 2000":                 "--jobs 2000: it takes 0 to 1024",
		"--length 1":                  "--length 1: it takes 2 to 65536",
		"--length 1024":               "--length 1024: the context is 1024",
		"--micro-batch 0":             "--micro-batch 0: it takes 1 to 65536",
		"--train-rows 8":              "--length 128: a step takes 8 training rows: choose a larger --train-rows or a smaller --length",
		"--cache-tokens 17":           "--length 128: the cache has room for 32 tokens: choose a larger --cache-tokens or a smaller --length",
		"--rank 5":                    "--rank 5: it takes a multiple of 4, at most 512",
		"--adapters -1":               "--adapters -1: it takes 0 to 4096",
		"--adapters 4":                "--adapters 4: only 3 are given: add --adapter NAME=DIR",
		"--adapters 2 --slots 2":      "--slots 2: 2 adapters and 1 job take 3",
		"--itl 3s":                    "--ttft and --itl: the first token in 2s is sooner than the next in 3s: the first takes a step at least",
		"--train-floor 0.7":           "--train-floor 0.7: it takes a share of time from 0 to 0.5",
		"--train-floor NaN":           "--train-floor NaN: it takes a share of time from 0 to 0.5",
		"--decisions gone/x.jsonl":    "--decisions gone/x.jsonl: there is no folder gone",
		"--itl 0s":                    "--itl 0s: it takes 1ms to 1h",
		"--ttft -2s":                  "--ttft -2s: it takes 1ms to 1h",
		"--queue 0":                   "--queue 0: it takes 1 or more",
		"--max-wait 2h":               "--max-wait 2h0m0s: it takes 1ms to 1h",
		"--trace gone.csv":            "open gone.csv: no such file or directory",
		"--trace " + broken:           broken + ": line 3: 2 columns, but there are three: time, prompt tokens, generated tokens",
		"--json gone/x.json":          "--json gone/x.json: there is no folder gone",
		"--svg gone/x.svg":            "--svg gone/x.svg: there is no folder gone",
		"--json /":                    "--json: open /: is a directory",
		"--svg .":                     "--svg: open .: is a directory",
		"--decisions ..":              "--decisions: open ..: is a directory",
		"--duration 100ms --load stable --seed 2": "no request is left of the load: choose a longer --duration",
		"more": `unexpected argument "more": run 'loquetier bench unified --help'`,
	} {
		o := call(t, append(strings.Fields("bench unified --model stories"), strings.Fields(args)...)...)
		assert.Equal(t, "loquetier: bench unified: "+want+"\n", o.err, args)
		assert.Empty(t, o.out, args)
		assert.NotEqual(t, exitOK, o.code, args)
	}
}

// Who trains alone has no requests to count.
func TestUnifiedTellsHowFarItIs(t *testing.T) {
	v, p := &unifiedView{trained: &trainedLog{}}, &unifiedPart{name: "training alone", start: time.Now().Add(-10 * time.Second)}
	assert.Equal(t, "training alone: 10 s", v.line(p))
	p.requests = 7
	p.done.Add(2)
	p.lost.Add(1)
	assert.Equal(t, "training alone: 10 s, 3 of 7  1 dropped", v.line(p))

	for requests, want := range map[int]string{0: `alone +training \d+ tokens/s`, 7: `alone 0/7 \[-+\] +training \d+ tokens/s`} {
		var screen strings.Builder
		v.bars = mpb.New(mpb.WithOutput(&screen), mpb.WithWidth(60), mpb.WithAutoRefresh(), mpb.WithRefreshRate(time.Millisecond))
		v.begin("alone", requests)
		v.trained.add(500)
		time.Sleep(50 * time.Millisecond)
		v.end()
		assert.Regexp(t, want, screen.String())
	}
}

func TestHighestSpeed(t *testing.T) {
	for _, limit := range []float64{0.03, 0.9, 1, 1.3, 70} {
		trials := 0
		speed, err := highest(1, func(speed float64) (bool, error) {
			trials++
			return speed <= limit, nil
		})
		require.NoError(t, err)
		assert.LessOrEqual(t, speed, limit)
		assert.Greater(t, speed, limit/1.1)
		assert.LessOrEqual(t, trials, 12)
	}
	_, err := highest(1, func(float64) (bool, error) { return true, nil })
	assert.EqualError(t, err, "--speed max: the SLO is held at no speed or at any: choose other targets")
	_, err = highest(1, func(float64) (bool, error) { return false, nil })
	assert.EqualError(t, err, "--speed max: the SLO is held at no speed or at any: choose other targets")
	lost := errors.New("lost")
	_, err = highest(1, func(float64) (bool, error) { return true, lost })
	assert.ErrorIs(t, err, lost)
}
