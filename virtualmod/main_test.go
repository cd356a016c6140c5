package virtualmod

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Tests run in the checking mode: memory is poisoned and every recorded step
// verified. No goroutine is left at their end.
func TestMain(m *testing.M) {
	os.Setenv("LOQUETIER_CHECK", "1")
	goleak.VerifyTestMain(m)
}
