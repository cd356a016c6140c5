package shaders

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFewFor(t *testing.T) {
	table := Tuning{Few: []Few{{MaxRows: 16}, {MaxRows: 32, MaxOut: 100, Columns: 32}, {MaxRows: 32, Columns: 64}}}
	for _, c := range []struct{ rows, out, want int }{
		{1, 1, 0}, {16, 200, 0}, {17, 100, 1}, {32, 1, 1}, {17, 101, 2}, {32, 200, 2},
	} {
		f := table.FewFor(c.rows, c.out)
		require.NotNil(t, f, "%+v", c)
		assert.Equal(t, table.Few[c.want], *f, "%+v", c)
	}
	assert.Nil(t, table.FewFor(33, 1))
}

func TestVectorFor(t *testing.T) {
	table := Tuning{Vector: []Vector{{MaxRows: 1, MaxOut: 100, SplitK: true}, {MaxRows: 1}, {MaxRows: 2}}}
	for _, c := range []struct{ rows, out, want int }{{1, 1, 0}, {1, 100, 0}, {1, 101, 1}, {2, 100, 2}} {
		v := table.VectorFor(c.rows, c.out)
		require.NotNil(t, v, "%+v", c)
		assert.Equal(t, table.Vector[c.want], *v, "%+v", c)
	}
	assert.Nil(t, table.VectorFor(3, 1))
}
