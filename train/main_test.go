package train

import (
	"testing"

	"go.uber.org/goleak"
)

// regexClock keeps the time for the tokenizers' expressions and ends by itself.
const regexClock = "github.com/dlclark/regexp2/v2.runClock"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(regexClock)) }
