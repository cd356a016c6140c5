package text

import (
	"container/heap"
	"unicode/utf8"
)

// bpe is the byte-pair encoding model. A word starts as its characters (or
// their bytes); then the adjacent pair of lowest rank is merged, leftmost
// first, until no pair has a rank. The word is a linked list and the pairs a
// heap, so a word of n characters costs O(n log n) however long it is.
type bpe struct {
	ids          map[string]int32
	merges       map[pair]merge
	bytes        [256]int32 // ids of <0x00>..<0xFF>; meaningful with byteFallback
	unk          int32      // -1: unknown characters are dropped
	byteFallback bool
	fuseUnk      bool
	ignoreMerges bool // a word that is a token is that token
	cache        *wordCache
}

type pair struct{ left, right int32 }

type merge struct {
	rank int32
	id   int32 // of the merged token
}

// encode appends the ids of word to dst.
func (m *bpe) encode(dst []int32, word string) []int32 {
	if m.ignoreMerges {
		if id, ok := m.ids[word]; ok {
			return append(dst, id)
		}
	}
	if ids, ok := m.cache.get(word); ok {
		return append(dst, ids...)
	}
	symbols := m.symbols(word)
	m.mergeAll(symbols)
	from := len(dst)
	for i := 0; i >= 0 && i < len(symbols); i = symbols[i].next {
		dst = append(dst, symbols[i].id)
	}
	m.cache.put(word, dst[from:])
	return dst
}

// symbol is one element of the list that is being merged.
type symbol struct {
	id         int32
	prev, next int // -1 at the ends
	merged     bool
}

// symbols gives the characters of word, linked in order.
func (m *bpe) symbols(word string) []symbol {
	symbols := make([]symbol, 0, len(word))
	add := func(id int32) {
		at := len(symbols)
		symbols = append(symbols, symbol{id: id, prev: at - 1, next: at + 1})
	}
	inUnknown := false
	for len(word) > 0 {
		_, n := utf8.DecodeRuneInString(word)
		char := word[:n]
		word = word[n:]
		if id, ok := m.ids[char]; ok {
			add(id)
			inUnknown = false
			continue
		}
		if m.byteFallback && m.haveBytes(char) {
			for i := range len(char) {
				add(m.bytes[char[i]])
			}
			inUnknown = false
			continue
		}
		if m.unk >= 0 && !(inUnknown && m.fuseUnk) {
			add(m.unk)
		}
		inUnknown = true
	}
	if len(symbols) > 0 {
		symbols[len(symbols)-1].next = -1
	}
	return symbols
}

func (m *bpe) haveBytes(char string) bool {
	for i := range len(char) {
		if m.bytes[char[i]] < 0 {
			return false
		}
	}
	return true
}

// candidate is a pair that was adjacent when it entered the heap; it is stale
// if the symbols at its place have changed since.
type candidate struct {
	merge
	at   int
	pair pair
}

type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	if c[i].rank != c[j].rank {
		return c[i].rank < c[j].rank
	}
	return c[i].at < c[j].at
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// mergeAll merges symbols in place and gives the number of heap entries it
// looked at: at most three for each symbol.
func (m *bpe) mergeAll(symbols []symbol) (work int) {
	queue := make(candidates, 0, len(symbols))
	for i := range symbols {
		if c, ok := m.candidate(symbols, i); ok {
			queue = append(queue, c)
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		work++
		c := heap.Pop(&queue).(candidate)
		left := &symbols[c.at]
		if left.merged || left.next < 0 || (pair{left.id, symbols[left.next].id}) != c.pair {
			continue
		}
		right := &symbols[left.next]
		right.merged = true
		left.id, left.next = c.id, right.next
		if left.next >= 0 {
			symbols[left.next].prev = c.at
		}
		for _, at := range [2]int{left.prev, c.at} {
			if next, ok := m.candidate(symbols, at); ok {
				heap.Push(&queue, next)
			}
		}
	}
	return work
}

func (m *bpe) candidate(symbols []symbol, at int) (candidate, bool) {
	if at < 0 || symbols[at].next < 0 {
		return candidate{}, false
	}
	p := pair{symbols[at].id, symbols[symbols[at].next].id}
	merge, ok := m.merges[p]
	return candidate{merge, at, p}, ok
}
