package text

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// TestDialectAgreesWithJinja renders small templates of our own, which
// testdata/generate.py had Python's jinja2 render.
func TestDialectAgreesWithJinja(t *testing.T) {
	var golden struct {
		Context map[string]json.RawMessage
		Cases   []struct{ Template, Out, Raised string }
	}
	readJSON(t, "testdata/dialect.json", &golden)
	require.NotEmpty(t, golden.Cases)
	ctx := contextOf(templateCase{Context: golden.Context})
	for _, c := range golden.Cases {
		template, err := LoadTemplate(c.Template)
		if err != nil {
			t.Errorf("%q: %v", c.Template, err)
			continue
		}
		got, err := template.Render(ctx)
		var raised *RaisedError
		switch {
		case c.Raised != "":
			if !errors.As(err, &raised) || raised.Message != c.Raised {
				t.Errorf("%q: raised %v, want %q", c.Template, err, c.Raised)
			}
		case err != nil:
			t.Errorf("%q: %v", c.Template, err)
		default:
			if diff := cmp.Diff(c.Out, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", c.Template, diff)
			}
		}
	}
}
