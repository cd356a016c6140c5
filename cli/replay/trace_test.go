package replay

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestATraceOfDates(t *testing.T) {
	file, err := os.Open("../../testdata/trace/short.csv")
	require.NoError(t, err)
	defer file.Close()
	load, err := ReadTrace("short", file)
	require.NoError(t, err)
	assert.Equal(t, Load{"short", []Request{
		{0, 31, 6}, {250 * time.Millisecond, 64, 12}, {750 * time.Millisecond, 7, 9}, {1500 * time.Millisecond, 120, 4},
	}}, load)
}

func TestATraceOfSeconds(t *testing.T) {
	load, err := ReadTrace("x", strings.NewReader("\ufefftime,in,out,model\r\n10,1,2,a\r\n\r\n10.5, 3, 4,b\r\n"))
	require.NoError(t, err)
	assert.Equal(t, []Request{{0, 1, 2}, {500 * time.Millisecond, 3, 4}}, load.Requests)
}

func TestBrokenTracesNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "no requests: a trace is a header and a line for each request: time, prompt tokens, generated tokens",
		"time,in,out\n":          "no requests: a trace is a header and a line for each request: time, prompt tokens, generated tokens",
		"0,5,1\n1,5,1\n":         "line 1 is a request: a trace begins with a header, as time,prompt,generated",
		"h\n1,2\n":               "line 2: 2 columns, but there are three: time, prompt tokens, generated tokens",
		"h\n1,2,3\nsoon,2,3\n":   `line 3: time "soon": it takes seconds, or a time like 2023-11-16 18:15:46.68`,
		"h\n-1,2,3\n":            `line 2: time "-1": it takes 0 to 2147483648 seconds`,
		"h\nNaN,2,3\n":           `line 2: time "NaN": it takes 0 to 2147483648 seconds`,
		"h\n1e300,2,3\n":         `line 2: time "1e300": it takes 0 to 2147483648 seconds`,
		"h\n5,2,3\n\n4,2,3\n":    `line 4: time "4" is before that of the request above`,
		"h\n1,0,3\n":             `line 2: prompt tokens "0": it takes 1 to 16777216`,
		"h\n1,2,-3\n":            `line 2: generated tokens "-3": it takes 1 to 16777216`,
		"h\n1,2.5,3\n":           `line 2: prompt tokens "2.5": it takes 1 to 16777216`,
		"h\n1,99999999999999,3":  `line 2: prompt tokens "99999999999999": it takes 1 to 16777216`,
		strings.Repeat("x", 1e5): "line 1: bufio.Scanner: token too long",
	} {
		_, err := ReadTrace("x", strings.NewReader(text))
		assert.EqualError(t, err, want)
	}
}

// Whatever a trace holds, it is read in order or refused.
func FuzzReadTrace(f *testing.F) {
	f.Add("h\n1,2,3\n2,3,4\n")
	f.Add("h\n2023-11-16 18:15:46.68,2,3\n")
	f.Fuzz(func(t *testing.T, text string) {
		load, err := ReadTrace("x", strings.NewReader(text))
		if err != nil {
			return
		}
		require.NotEmpty(t, load.Requests)
		last := time.Duration(0)
		for _, r := range load.Requests {
			require.True(t, r.At >= last && r.Prompt > 0 && r.Output > 0)
			last = r.At
		}
	})
}
