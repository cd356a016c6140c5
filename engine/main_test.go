package engine_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Tests run in the checking mode: memory is poisoned and every recorded step
// verified. Benchmarks do not.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Setenv("LOQUETIER_CHECK", "1")
	}
	goleak.VerifyTestMain(m)
}
