package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
	"loquetier/virtualmod"
)

// given reads one of PEFT's adapters as the engine takes it.
func given(t *testing.T, e *engine.Engine, variant string) (out engine.Adapter) {
	t.Helper()
	folder, err := weights.OpenDir(tiny + "/llama/adapters/" + variant)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.Close()) })
	a, err := virtualmod.ReadPEFT(folder, e.Model())
	require.NoError(t, err)
	for _, m := range a.Modules {
		out.Modules = append(out.Modules, engine.AdapterModule{
			Layer: m.Layer, Module: m.Kind, Rank: m.Rank, Scale: m.Scale, A: m.A, B: m.B, Magnitude: m.Magnitude,
		})
	}
	return out
}

// Between any two pieces of an adapter that comes or is read steps run, one behind
// the other, and say what they say without; what has come answers as the one that is
// there, and what was read is it.
func TestStepsRunBetweenThePiecesOfAnAdapter(t *testing.T) {
	for _, dtype := range []string{"f32", "f16", "bf16"} {
		b := openTiny(t, "llama", engine.Config{DType: dtype})
		other := b.prompt("all-r16", 1)
		want := b.run(other)
		b.run(b.prompt("dora-r8", 2))
		f := &flights{bench: b, step: &batch.Step{Spans: []batch.Span{other}}, want: want}
		f.next()
		f.next()
		f.land() // all that steps take is there
		used, slot := b.engine.Used(), b.engine.Slots()-1
		for _, most := range []uint64{0, 6004} { // 0: in place
			for _, variant := range variants[1:] {
				span := b.prompt(variant, 2)
				answer := b.run(span)
				b.next = 0
				span.Slot = slot

				u, err := b.engine.BeginUpload(slot, given(t, b.engine, variant))
				require.NoError(t, err)
				if most > 0 {
					require.NoError(t, u.Staged(most))
				}
				for more := true; more; {
					require.NoError(t, u.Fill())
					f.next()
					more, err = u.Send()
					require.NoError(t, err)
				}
				f.land()
				require.Error(t, b.engine.Check(&span), "it is not there before its end")
				require.NoError(t, u.Finish())
				require.Equal(t, answer, b.run(span), "%s %s", dtype, variant)

				d, err := b.engine.BeginSave(slot)
				require.NoError(t, err)
				if most > 0 {
					require.NoError(t, d.Staged(most))
				}
				for more := true; more; d.Take() {
					f.next()
					more, err = d.Send()
					require.NoError(t, err)
				}
				f.land()
				d.Close()
				whole, err := b.engine.Save(slot)
				require.NoError(t, err)
				require.Equal(t, whole, d.Image(), "%s %s", dtype, variant)
				require.NoError(t, b.engine.Detach(slot))
				require.Equal(t, used, b.engine.Used())
			}
		}
	}
}

// flights keeps a step in flight while something else goes on.
type flights struct {
	*bench
	step   *batch.Step
	want   [][]batch.Pick
	flying int
}

// next starts a step and waits for the one before it.
func (f *flights) next() {
	f.t.Helper()
	require.NoError(f.t, f.engine.Start(f.step))
	if f.flying++; f.flying > 1 {
		f.wait()
	}
}

func (f *flights) wait() {
	f.t.Helper()
	result, err := f.engine.Wait()
	require.NoError(f.t, err)
	require.Equal(f.t, f.want, result.Picks)
	f.flying--
}

func (f *flights) land() {
	f.t.Helper()
	for f.flying > 0 {
		f.wait()
	}
}

// An upload that is given up, or cannot be finished, leaves the slot free and no
// byte in use.
func TestUploadsAreGivenUp(t *testing.T) {
	b := openTiny(t, "llama", engine.Config{DType: "f16"})
	b.run(b.prompt("base", 1))
	used, slot := b.engine.Used(), b.engine.Slots()-1
	a := given(t, b.engine, "dora-r8")
	for pieces := range 6 {
		u, err := b.engine.BeginUpload(slot, a)
		require.NoError(t, err)
		require.NoError(t, u.Staged(4000))
		for range pieces {
			require.NoError(t, u.Fill())
			_, err := u.Send()
			require.NoError(t, err)
		}
		if pieces%2 == 0 {
			u.Cancel()
		} else {
			require.EqualError(t, u.Finish(), "BUG: an upload is finished before its last piece")
		}
		require.Equal(t, used, b.engine.Used())
	}
	_, err := b.engine.BeginUpload(b.slot("all-r16"), a)
	require.ErrorContains(t, err, "is taken")
	_, err = b.engine.BeginUpload(slot+1, a)
	require.ErrorContains(t, err, "BUG: slot")
	require.Equal(t, used, b.engine.Used())
}
