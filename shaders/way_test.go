package shaders

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChoicesFor(t *testing.T) {
	table := Choices{
		{Class{Rows: 1, In: 4096, Out: 4096}, Way{Vector: &Vector{MaxRows: 1}}},
		{Class{Rows: 16, In: 4096, Out: 4096}, Way{Few: &Few{Rows: 16}}},
		{Class{Rows: 16, In: 2048, Out: 2048}, Way{Few: &Few{Rows: 17}}},
		{Class{Rows: 2048, In: 4096, Out: 4096}, Way{Matrix: &MatrixTile{Rows: 128}}},
		{Class{Rows: 512, In: 4096, Out: 4096, Adapters: true}, Way{Matrix: &MatrixTile{Rows: 64}}},
		{Class{Rows: 1024, In: 4096, Out: 4096, Grad: true}, Way{Tile: &Tile{Rows: 8}}},
	}
	for _, c := range []struct {
		product Class
		want    Way
	}{
		{Class{Rows: 1, In: 64, Out: 64}, table[0].Way},
		{Class{Rows: 9, In: 4096, Out: 28672}, table[1].Way},
		{Class{Rows: 16, In: 2048, Out: 2560}, table[2].Way},
		{Class{Rows: 8, In: 2048, Out: 2560}, Way{}},
		{Class{Rows: 17, In: 2048, Out: 2560}, Way{}},
		{Class{Rows: 1024, In: 2048, Out: 2560}, Way{}},
		{Class{Rows: 1025, In: 2048, Out: 2560}, table[3].Way},
		{Class{Rows: 9999, In: 2048, Out: 2560}, table[3].Way},
		{Class{Rows: 257, In: 64, Out: 64, Adapters: true}, table[4].Way},
		{Class{Rows: 600, In: 64, Out: 64, Grad: true}, table[5].Way},
		{Class{Rows: 600, In: 64, Out: 64, Grad: true, Adapters: true}, Way{}},
		{Class{Rows: 1, In: 64, Out: 64, Gated: true}, Way{}},
	} {
		assert.Equal(t, c.want, table.For(c.product), "%+v", c.product)
	}
	assert.Zero(t, Choices(nil).For(Class{Rows: 1, In: 4, Out: 4}))
}

// A way is kept by its name, so no two ways for a class share one.
func TestWaysHaveNames(t *testing.T) {
	for _, row := range Tunings() {
		for _, class := range []Class{{Rows: 1}, {Rows: 2}, {Rows: 16}, {Rows: 64}, {Rows: 128}, {Rows: 2048}, {Rows: 512, Grad: true}} {
			class.In, class.Out = 4096, 4096
			seen := map[string]bool{}
			for _, w := range row.Ways(class) {
				assert.False(t, seen[w.String()], "%s: %s", row.Name, w)
				seen[w.String()] = true
				found, err := row.WayNamed(class, w.String())
				require.NoError(t, err)
				assert.Equal(t, w, found)
			}
			assert.NotEmpty(t, seen)
			_, err := row.WayNamed(class, "few-1x1x1")
			assert.Error(t, err)
		}
	}
	_, err := Tunings()[0].WayNamed(Class{Rows: 1}, "matrix2")
	assert.Error(t, err, "no width")
}
