package weights

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewRandomHasWhatTheModelNeeds(t *testing.T) {
	for name, parameters := range map[string]int64{"8b": 8030261248, "1b": 1498482688, "qwen3-1.7b": 1720574976, "stories": 2755008} {
		config, ok := Shape(name)
		require.True(t, ok, name)
		c := NewRandom(config, BF16)
		assert.Equal(t, 2*parameters, c.Bytes(), name)
		seeds := map[uint32]bool{}
		for _, spec := range config.Tensors() {
			x, ok := c.Tensor(spec.Name)
			require.True(t, ok)
			assert.Equal(t, spec.Shape, x.Shape)
			assert.Nil(t, x.Data)
			if len(x.Shape) == 1 {
				assert.Equal(t, Random{Mean: 1}, *x.Random, spec.Name)
				continue
			}
			assert.False(t, seeds[x.Random.Seed], "numbers of its own")
			seeds[x.Random.Seed] = true
		}
		require.NoError(t, c.Close())
	}
	_, ok := Shape("7b")
	assert.False(t, ok)
	assert.Equal(t, []string{"8b", "1b", "qwen3-1.7b", "stories"}, Shapes())
}
