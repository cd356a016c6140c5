package train

import (
	"math"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/batch"
)

func TestSettingsErrors(t *testing.T) {
	require.NoError(t, DefaultSettings().Check())
	for want, change := range map[string]func(*Settings){
		"--lr NaN: it takes a number above 0":                     func(s *Settings) { s.LR = math.NaN() },
		"--lr 0: it takes a number above 0":                       func(s *Settings) { s.LR = 0 },
		"--lr -1: it takes a number above 0":                      func(s *Settings) { s.LR = -1 },
		"--lr +Inf: it takes a number above 0":                    func(s *Settings) { s.LR = math.Inf(1) },
		"--beta1 1: it takes 0 or more, below 1":                  func(s *Settings) { s.Beta1 = 1 },
		"--beta2 -0.1: it takes 0 or more, below 1":               func(s *Settings) { s.Beta2 = -0.1 },
		"--beta2 NaN: it takes 0 or more, below 1":                func(s *Settings) { s.Beta2 = math.NaN() },
		"--eps 0: it takes a number of 1.2e-38 or more":           func(s *Settings) { s.Eps = 0 },
		"--weight-decay -1: it takes a number of 0 or more":       func(s *Settings) { s.WeightDecay = -1 },
		"--clip NaN: it takes a number of 0 or more":              func(s *Settings) { s.Clip = math.NaN() },
		"--micro-batch 0: it takes 1 to 65536":                    func(s *Settings) { s.MicroBatch = 0 },
		"--accumulate 65537: it takes 1 to 65536":                 func(s *Settings) { s.Accumulate = 65537 },
		"--steps -1: it takes 0 to 2147483647":                    func(s *Settings) { s.Steps = -1 },
		"--warmup -1: it takes 0 to 2147483647":                   func(s *Settings) { s.Warmup = -1 },
		"--block 1: it takes 2 or more":                           func(s *Settings) { s.Block = 1 },
		"--schedule \"step\": known are linear, cosine, constant": func(s *Settings) { s.Schedule = "step" },
		"--optimizer \"adam\": known are adamw, sgd":              func(s *Settings) { s.Optimizer = "adam" },
		"--steps and --epochs exclude each other":                 func(s *Settings) { s.Steps = 5 },
		"--steps or --epochs is missing":                          func(s *Settings) { s.Epochs = 0 },
	} {
		s := DefaultSettings()
		change(&s)
		assert.EqualError(t, s.Check(), want)
	}
}

func TestEpochsToSteps(t *testing.T) {
	s := DefaultSettings()
	for _, c := range []struct{ epochs, micro, accumulate, n, want int }{
		{3, 8, 1, 16, 6}, {1, 8, 1, 17, 3}, {3, 4, 2, 9, 4}, {1, 8, 1, 1, 1},
	} {
		s.Epochs, s.MicroBatch, s.Accumulate = c.epochs, c.micro, c.accumulate
		got, err := s.steps(c.n)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	s.Epochs = 1 << 30
	_, err := s.steps(1 << 20)
	assert.EqualError(t, err, "--epochs 1073741824: 1048576 sequences make 140737488355328 steps, at most 2147483647 are taken")
}

// A job with any other setting is another job, but for those that only say
// when to look and when to stop.
func TestEverySettingCountsForResuming(t *testing.T) {
	saved := DefaultSettings()
	require.NoError(t, saved.same(saved))
	free := 0
	for i := range reflect.TypeFor[Settings]().NumField() {
		s := saved
		switch f := reflect.ValueOf(&s).Elem().Field(i); f.Kind() {
		case reflect.Int:
			f.SetInt(f.Int() + 1)
		case reflect.Uint64:
			f.SetUint(f.Uint() + 1)
		case reflect.Float64:
			f.SetFloat(f.Float() + 1)
		case reflect.Bool:
			f.SetBool(!f.Bool())
		case reflect.String:
			f.SetString(f.String() + "x")
		default:
			t.Fatalf("field %d is of another kind", i)
		}
		if err := s.same(saved); err != nil {
			assert.Contains(t, err.Error(), "--"+reflect.TypeFor[Settings]().Field(i).Tag.Get("json")+": the checkpoint has ")
		} else {
			free++
		}
	}
	assert.Equal(t, len(mayDiffer), free)
}

func TestUpdatesFollowTheSettings(t *testing.T) {
	s := DefaultSettings()
	s.Warmup = 2
	assert.Equal(t, batch.Update{Slot: 3, LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Clip: 1}, s.update(3, 0, 10))
	s.Optimizer = SGD
	assert.Equal(t, batch.SGD, s.update(3, 0, 10).Optimizer)
}

func TestFlagsAreWhatIsNotTheDefault(t *testing.T) {
	s := DefaultSettings()
	assert.Empty(t, s.Flags())
	s.Steps, s.Epochs, s.NoShuffle, s.LR, s.Init = 5, 0, true, 1e-3, "a b"
	assert.Equal(t, []string{"--init", "a b", "--steps", "5", "--no-shuffle", "--lr", "0.001"}, s.Flags())
}
