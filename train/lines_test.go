package train

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinesHaveLimits(t *testing.T) {
	file, err := OpenLines(write(t, "r.jsonl", "one\n\n  \n"+strings.Repeat("x", MaxLine+1)+"\n three \nfour"))
	require.NoError(t, err)
	defer file.Close()
	type line struct {
		text   string
		number int
		err    error
	}
	var all []line
	for range 5 {
		text, err := file.Next()
		all = append(all, line{string(text), file.number, err})
	}
	assert.Equal(t, []line{{"one", 1, nil}, {"", 4, ErrLongLine}, {"three", 5, nil}, {"four", 6, nil}, {"", 7, io.EOF}}, all)
}

func TestFilesHaveALimitOfLines(t *testing.T) {
	name := write(t, "r.jsonl", strings.Repeat("\n", MaxLines)+"{}")
	file, err := OpenLines(name)
	require.NoError(t, err)
	defer file.Close()
	_, err = file.Next()
	assert.EqualError(t, err, name+" has more than 1000000 lines: split it")

	exact, err := OpenLines(write(t, "r.jsonl", strings.Repeat("\n", MaxLines)))
	require.NoError(t, err)
	defer exact.Close()
	_, err = exact.Next()
	assert.ErrorIs(t, err, io.EOF)
}
