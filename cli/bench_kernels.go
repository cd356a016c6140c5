package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
	"loquetier/virtualmod"
)

// mostDecode is the most rows that a benchmark of kernels takes for a decode
// step; more rows are a prompt.
const mostDecode = 64

func benchKernelsCommand() *cli.Command {
	return &cli.Command{
		Name: "kernels", Usage: "measure the device's rates, and each kernel in the steps of a model",
		Flags: benchFlags(
			&cli.StringFlag{Name: "rows", Value: "1,4,16,32,64,512,1024,2048", Usage: fmt.Sprintf("`LIST` of rows of a step: up to %d are sequences in decode, more are a prompt", mostDecode)},
			&cli.StringFlag{Name: "contexts", Value: "128,1024", Usage: "`LIST` of tokens before a decode step"},
			&cli.IntFlag{Name: "train", Value: 1024, Usage: "`N` tokens of a training step; 0 for none"},
			&cli.IntFlag{Name: "rank", Value: 16, Usage: "rank `R` of random adapters"},
			countFlag(3),
		),
		Description: "loquetier bench kernels --shape 8b --layers 4 --rows 1,32,2048",
		Action:      benchKernels,
	}
}

// kernelBench is what a benchmark of kernels runs.
type kernelBench struct {
	ctx               context.Context // of the command
	rows, contexts    []int
	train, rank, runs int
	slots             []int // of random adapters
}

// sequences is the most that a step serves.
func (b *kernelBench) sequences() int {
	most := 1
	for _, rows := range b.rows {
		if rows <= mostDecode {
			most = max(most, rows)
		}
	}
	return most
}

func benchKernels(c *cli.Context) error {
	o, err := modelOptionsOf(c)
	if err != nil {
		return err
	}
	b, err := kernelBenchOf(c)
	if err != nil {
		return err
	}
	if o.shape == "" {
		return missing(c, "shape")
	}
	if o.layers == 0 {
		o.layers = kernelLayers
	}
	b.size(&o)
	return open(c, o, func(s *session) error {
		err := b.fits(s.engine.Context())
		if err != nil {
			return err
		}
		if b.slots, err = s.benchSlots(b.sequences(), b.rank); err != nil {
			return err
		}
		stopped := s.scheduler.Do(func() { err = b.run(s, c.App.Writer) })
		return firstError(err, stopped)
	})
}

// kernelLayers is how many layers are enough: their weights do not fit a
// device's cache, and take little time to make.
const kernelLayers = 4

// kernelBenchOf reads the flags.
func kernelBenchOf(c *cli.Context) (*kernelBench, error) {
	b := &kernelBench{ctx: c.Context, train: c.Int("train"), rank: c.Int("rank"), runs: c.Int("count")}
	if b.train < 0 || b.train == 1 || b.train > 1<<16-1 {
		return nil, usagef("--train %d: it takes 0, or 2 to %d", b.train, 1<<16-1)
	}
	var err error
	if b.rows, err = numbersOf(c, "rows", 1<<16-1); err != nil {
		return nil, err
	}
	if b.contexts, err = numbersOf(c, "contexts", 1<<20); err != nil {
		return nil, err
	}
	return b, firstError(checkRank(c), checkBench(c, "count"))
}

// numbersOf reads a flag that is a list of numbers from 1 to most.
func numbersOf(c *cli.Context, flag string, most int) ([]int, error) {
	var list []int
	for field := range strings.SplitSeq(c.String(flag), ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 || n > most {
			return nil, usagef("--%s %q: it takes numbers from 1 to %d with commas between them", flag, c.String(flag), most)
		}
		list = append(list, n)
	}
	return list, nil
}

// size makes room for the steps where nothing else was asked for.
func (b *kernelBench) size(o *modelOptions) {
	most, sequences := max(b.train, slices.Max(b.rows)), b.sequences()
	o.stamps, o.trainRows, o.maxRows, o.recompute = true, b.train, most, engine.RecomputeNever
	if o.cacheTokens == 0 {
		o.cacheTokens = max(sequences*(slices.Max(b.contexts)+2*batch.BlockSize), most+batch.BlockSize)
	}
	if o.slots == 0 {
		o.slots = sequences + 1 // one is trained
	}
}

// fits refuses sequences that are longer than the context.
func (b *kernelBench) fits(context int) error {
	longest := max(b.train, slices.Max(b.contexts)+1)
	for _, rows := range b.rows {
		if rows > mostDecode {
			longest = max(longest, rows)
		}
	}
	if longest > context {
		return fmt.Errorf("sequences of %d tokens, but the context is %d", longest, context)
	}
	return nil
}

// run measures the rates, then the kernels of each step.
func (b *kernelBench) run(s *session, w io.Writer) error {
	rates, err := s.engine.Rates()
	if err != nil {
		return err
	}
	if err := firstError(s.writeSettings(w), writeRates(w, rates)); err != nil {
		return err
	}
	report := kernelReport{to: w, rates: rates, config: s.engine.Model(), rank: b.rank}
	for _, rows := range b.rows {
		if err := b.serve(s, rows, report); err != nil {
			return err
		}
	}
	if b.train == 0 {
		return nil
	}
	return b.teach(s, report)
}

// teach measures an optimizer step of one sequence.
func (b *kernelBench) teach(s *session, report kernelReport) error {
	targets, err := virtualmod.ParseTargets("all")
	if err != nil {
		return err
	}
	d := &drill{jobs: 1, sequences: 1, micro: 1, slices: batch.All, length: b.train, rank: 8, targets: targets}
	if err := d.begin(s); err != nil {
		return err
	}
	report.step, report.rows, report.rank = fmt.Sprintf("shape=%s/step=train", s.options.shape), b.train, d.rank
	return b.measure(s, report, func() error {
		_, err := d.optimize(s)
		return err
	})
}

// serve measures decode steps of so many sequences, or a prompt of so many
// tokens, without adapters and with a different one for each sequence.
func (b *kernelBench) serve(s *session, rows int, report kernelReport) error {
	sequences, contexts := rows, b.contexts
	if rows > mostDecode {
		sequences, contexts = 1, []int{0}
	}
	for _, adapters := range []int{0, sequences} {
		for _, context := range contexts {
			if err := b.serveAt(s, b.slots[:adapters], rows/sequences, sequences, context, report); err != nil {
				return err
			}
		}
	}
	return nil
}

// serveAt measures steps of n tokens for each sequence behind a context.
func (b *kernelBench) serveAt(s *session, slots []int, n, sequences, context int, report kernelReport) error {
	w, err := s.newWorkload(sequences, context+n, slots)
	if err != nil {
		return err
	}
	if err := w.read(context); err != nil {
		return err
	}
	report.rows = n * sequences
	report.step = fmt.Sprintf("shape=%s/step=prefill", s.options.shape)
	if n == 1 {
		report.step = fmt.Sprintf("shape=%s/step=decode/context=%d", s.options.shape, context)
	}
	report.step += fmt.Sprintf("/adapters=%d", len(slots))
	return b.measure(s, report, func() error {
		w.rewind(context)
		_, err := w.step(n)
		return err
	})
}

// measure runs a step, apart from a first time, and reports its kernels.
func (b *kernelBench) measure(s *session, report kernelReport, step func() error) error {
	if err := step(); err != nil {
		return err
	}
	s.engine.ResetProfile()
	for range b.runs {
		if err := firstError(step(), b.ctx.Err()); err != nil {
			return err
		}
	}
	return report.write(s.engine.ProfileCalls())
}

// kernelReport prints the kernels of a step.
type kernelReport struct {
	to         io.Writer
	rates      engine.Rates
	config     weights.Config
	step       string // its name
	rows, rank int
}

func (r kernelReport) write(calls []engine.KernelTime) error {
	seen := map[string]bool{}
	for _, k := range calls {
		name := fmt.Sprintf("BenchmarkKernel/%s/rows=%d/kernel=%s", r.step, r.rows, k.Name)
		if product := r.product(k); product != "" {
			name += "/product=" + product
		}
		if seen[name] { // the same kernel at another size
			name += fmt.Sprintf("/bytes=%.0f", k.Work.Bytes/float64(k.Calls))
		}
		seen[name] = true
		if _, err := fmt.Fprintf(r.to, "%s%s\t%d\t%.0f ns/op%s\n", name, processors(), k.Calls,
			float64(k.Time.Nanoseconds())/float64(k.Calls), shares(r.rates, k.Work.Bytes, k.Work.Flops, k.Time)); err != nil {
			return err
		}
	}
	return nil
}

// product tells which products of a layer a kernel's arithmetic may be that of;
// "" for kernels that are none.
func (r kernelReport) product(k engine.KernelTime) string {
	flops := k.Work.Flops / float64(k.Calls)
	if flops == 0 {
		return ""
	}
	var found []string
	for _, p := range productsOf(r.config) {
		if flops == 2*float64(r.rows)*p.numbers(k.Name, r.rank) {
			found = append(found, p.name)
		}
	}
	head := 2 * float64(r.config.VocabSize) * float64(r.config.HiddenSize)
	if rows := flops / head; len(found) == 0 && rows >= 1 && rows == float64(int(rows)) {
		return "head"
	}
	return strings.Join(found, "+")
}

// product is one of a layer's: parts matrices of out rows in all and in columns.
type product struct {
	name           string
	out, in, parts int
}

func productsOf(c weights.Config) []product {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	return []product{
		{"qkv", q + 2*kv, c.HiddenSize, 3},
		{"o", c.HiddenSize, q, 1},
		{"gate_up", 2 * c.IntermediateSize, c.HiddenSize, 2},
		{"down", c.HiddenSize, c.IntermediateSize, 1},
	}
}

// numbers is how many numbers a kernel multiplies each row by.
func (p product) numbers(kernel string, rank int) float64 {
	switch {
	case strings.HasPrefix(kernel, "shrink_grad"):
		return float64(rank * p.out)
	case strings.HasPrefix(kernel, "shrink"):
		return float64(rank * p.parts * p.in)
	case strings.HasPrefix(kernel, "lora_grad"):
		return float64(rank * (p.parts*p.in + p.out))
	case strings.HasPrefix(kernel, "linear"):
		return float64(p.out * p.in)
	}
	return 0
}
