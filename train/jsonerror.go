package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// JSONError words an error of encoding/json for whoever wrote the line it
// comes from.
func JSONError(err error) error {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("a JSON object is needed, but the line is of type %s", kind.Value)
	case errors.As(err, &kind):
		return fmt.Errorf("field %q: %s does not fit: it takes %s", lastField(kind.Field), kind.Value, kindName(kind.Type.Kind().String()))
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return errors.New("bad JSON: the line ends within an object")
	}
	why := strings.TrimPrefix(err.Error(), "json: ")
	if strings.HasPrefix(why, "unknown field") || strings.HasPrefix(why, "stop takes") {
		return errors.New(why)
	}
	return fmt.Errorf("bad JSON: %s", why)
}

// lastField is a field without the name of the structure it is embedded in.
func lastField(field string) string { return field[strings.LastIndexByte(field, '.')+1:] }

func kindName(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "uint64":
		return "a whole number of 0 or more"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "map":
		return "an object of token ids and numbers"
	}
	return "a " + kind
}
