package virtualmod

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Tests run in the checking mode: memory is poisoned and every recorded step
// verified. No goroutine is left at their end but the one that keeps the time for the expressions of
// tokenizers and adapters, which ends by itself.
func TestMain(m *testing.M) {
	os.Setenv("LOQUETIER_CHECK", "1")
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"))
}
