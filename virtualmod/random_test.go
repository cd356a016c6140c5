package virtualmod

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Random adapters change what the base says, each in its own way, and have the
// same numbers wherever they have been.
func TestRandomAdapters(t *testing.T) {
	b := openBench(t, "f32", 2)
	add := func(name string, seed uint32) error {
		a, err := NewRandomAdapter(Spec{Rank: 8, Alpha: 16, Targets: everyKind()}, b.engine.Model(), seed)
		require.NoError(t, err)
		return b.Add(name, a)
	}
	said := map[string][]float32{}
	for i, name := range []string{"a", "b", "c"} {
		require.NoError(t, add(name, uint32(i)))
		l := b.acquire(name)
		said[name] = b.logits(l)
		l.Release()
	}
	assert.NotEqual(t, said["a"], said["b"])
	assert.NotEqual(t, said["b"], said["c"])
	l := b.acquire("a")
	assert.Equal(t, said["a"], b.logits(l), "put out and loaded again")
	l.Release()
	require.EqualError(t, add("a", 9), "add adapter a: the name is taken")

	_, err := NewRandomAdapter(Spec{Rank: 6, Alpha: 16, Targets: everyKind()}, b.engine.Model(), 1)
	require.EqualError(t, err, "new adapter: the rank is 6, random ones take a multiple of 4")
}
