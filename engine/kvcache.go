package engine

import (
	"fmt"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// allocCache allocates the paged KV cache: for each layer, keys and values of
// all blocks. Which sequence owns which block is the scheduler's business.
func (e *Engine) allocCache() error {
	size := uint64(e.cacheBytes() / int64(2*e.checkpointConfig.Layers))
	for range e.checkpointConfig.Layers {
		keys, err := e.device.Alloc(vk.Local, size)
		if err != nil {
			return fmt.Errorf("KV cache: %w", err)
		}
		e.cacheBuffers = append(e.cacheBuffers, keys)
		values, err := e.device.Alloc(vk.Local, size)
		if err != nil {
			return fmt.Errorf("KV cache: %w", err)
		}
		e.cacheBuffers = append(e.cacheBuffers, values)
		e.caches = append(e.caches, Cache{Keys: keys.All(), Values: values.All(), Blocks: e.config.CacheBlocks})
	}
	return nil
}

// cacheBytes is the size of the whole KV cache.
func (e *Engine) cacheBytes() int64 {
	c := e.checkpointConfig
	perToken := int64(2*c.Layers*c.KVHeads*c.HeadDim) * int64(e.precision.Act.Size())
	return perToken * batch.BlockSize * int64(e.config.CacheBlocks)
}
