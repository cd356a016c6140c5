package text

import "sync"

const (
	maxCachedWords = 1 << 14
	maxCachedWord  = 128 // bytes
)

// wordCache remembers the ids of short words: natural text repeats them. When
// full it starts over, which bounds it and needs no bookkeeping on a hit.
type wordCache struct {
	mu    sync.RWMutex
	words map[string][]int32
}

func newWordCache() *wordCache { return &wordCache{words: map[string][]int32{}} }

func (c *wordCache) get(word string) ([]int32, bool) {
	if len(word) > maxCachedWord {
		return nil, false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	ids, ok := c.words[word]
	return ids, ok
}

// put keeps a copy of word and ids, so that no larger text is kept alive.
func (c *wordCache) put(word string, ids []int32) {
	if len(word) > maxCachedWord {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.words) >= maxCachedWords {
		clear(c.words)
	}
	c.words[string([]byte(word))] = append([]int32(nil), ids...)
}
