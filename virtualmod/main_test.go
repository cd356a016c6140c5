package virtualmod

import (
	"os"
	"testing"
)

// Tests run in the checking mode: memory is poisoned and every recorded step
// verified.
func TestMain(m *testing.M) {
	os.Setenv("LOQUETIER_CHECK", "1")
	os.Exit(m.Run())
}
