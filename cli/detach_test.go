package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"loquetier/engine/weights"
	"loquetier/train"
)

// serving runs f beside the jobs of a train command, on a session that serves.
func serving(t *testing.T, f func(s *training), args ...string) {
	t.Helper()
	app := &cli.App{Commands: []*cli.Command{{
		Name: "train", Flags: modelFlags(trainFlags()...),
		Action: func(c *cli.Context) error {
			o, err := modelOptionsOf(c)
			require.NoError(t, err)
			jobs, err := jobOptionsOf(c)
			require.NoError(t, err)
			return withCheckpoint(c, o, func(s *session, checkpoint *weights.Checkpoint) error {
				tr := &training{session: s, checkpoint: checkpoint}
				if err := firstError(tr.prepare(c, jobs), tr.serve(c.Context, checkpoint)); err != nil {
					return err
				}
				f(tr)
				return nil
			})
		},
	}}}
	require.NoError(t, app.RunContext(t.Context(), append([]string{"loquetier"}, args...)))
}

// ask begins to continue a prompt.
func (t *training) ask(test *testing.T, adapter string) <-chan reply {
	p, err := t.session.prepare(wireRequest{
		Adapter: &adapter, Prompt: json.RawMessage("[5,17,3,60,9]"),
		sampling: sampling{MaxTokens: 60, TopP: 1, Repetition: 1, IgnoreEOS: true},
	})
	require.NoError(test, err)
	a, err := t.session.begin(test.Context(), p, nil)
	require.NoError(test, err)
	return working(a.collect)
}

// closed takes some bytes, then no more.
type closed struct{ left int }

var errClosed = errors.New("the connection was closed")

func (c *closed) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		return 0, errClosed
	}
	return len(p), nil
}

// evenData are sequences of which a step of 40 rows takes one, whether or not streams
// share it: the last bits of gradients depend on which sequences a step has.
func evenData(t *testing.T) string {
	t.Helper()
	lines := ""
	for i := range 12 {
		ids := make([]string, 25)
		for k := range ids {
			ids[k] = fmt.Sprint(1 + (i*37+k*11)%60)
		}
		lines += fmt.Sprintf(`{"ids":[%s],"prompt_tokens":3}`, strings.Join(ids, ",")) + "\n"
	}
	return write(t, "even.jsonl", lines)
}

// A job is detached in the middle of an accumulation while streams run, and goes on in
// another process with the losses that it has here. Here streams and job go on, also
// where the transfer fails.
func TestAJobIsDetachedWhileStreamsRun(t *testing.T) {
	m := newMoving(t)
	out, there := filepath.Join(m.dir, "out"), filepath.Join(m.dir, "there")
	m.args = append(m.args, "--data", evenData(t))
	adapter := "../testdata/golden/tiny/llama/adapters/qv-r8"
	var file bytes.Buffer
	serving(t, func(s *training) {
		want := map[string]reply{}
		for _, name := range []string{baseName, "qv"} {
			want[name] = <-s.ask(t, name)
			require.Len(t, want[name].Tokens, 60)
		}
		j := s.jobs[0]
		require.NoError(t, s.begin(j, func(train.Event) {}))
		for detached := false; !detached; {
			streams := map[string]<-chan reply{baseName: s.ask(t, baseName), "qv": s.ask(t, "qv")}
			require.ErrorIs(t, <-j.job.Detach(&closed{5000}), errClosed)
			file.Reset()
			require.NoError(t, <-j.job.Detach(&file), "no more in the middle of an accumulation")
			info, err := train.InspectFile(bytes.NewReader(file.Bytes()))
			require.NoError(t, err)
			detached = info.Pending > 0 && info.Pending < info.Batch
			for name, stream := range streams {
				require.Equal(t, want[name].Tokens, (<-stream).Tokens, name)
			}
		}
		stream := s.ask(t, "qv")
		<-j.job.Ended()
		require.NoError(t, j.job.Err())
		require.Equal(t, want["qv"].Tokens, (<-stream).Tokens)
	}, append(m.args, "--out", out, "--adapter", "qv="+adapter, "--cache-tokens", "2000", "--eval-every", "100", "--steps", "12")...)

	require.NoError(t, train.Unpack(&file, there))
	output, err := program(t, append(m.args, "--out", there, "--resume", "--eval-every", "100", "--steps", "12")...).CombinedOutput()
	require.NoError(t, err, string(output))
	require.Equal(t, logOf(t, out), logOf(t, there))
}
