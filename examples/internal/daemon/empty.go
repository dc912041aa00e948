package daemon

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"slices"

	"github.com/alecthomas/kong"
)

// emptyTag marks values that may be given and empty. No other may: the program would have to guess
// what is meant, and mostly it is a variable of a script that is not set.
const emptyTag = "empty"

// checkEmpty refuses flags and arguments that were given an empty value.
func checkEmpty(k *kong.Context) error {
	for _, f := range k.Flags() {
		if f.Set && refusesEmpty(f.Value, f.Target) {
			return fmt.Errorf("--%s: %s", f.Name, emptyFlag(f))
		}
	}
	if node := k.Selected(); node != nil {
		for _, arg := range node.Positional {
			if arg.Set && refusesEmpty(arg, arg.Target) {
				return fmt.Errorf("<%s>: the value is empty", arg.Name)
			}
		}
	}
	return nil
}

func refusesEmpty(v *kong.Value, value reflect.Value) bool {
	return !v.Tag.Has(emptyTag) && empty(value)
}

// empty reports whether a value is what kong makes of an empty text, or a list with an element that
// is. A number never is.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Map:
		return v.Len() == 0
	case reflect.Struct: // an address
		return v.IsZero()
	case reflect.Slice:
		for i := range v.Len() {
			if empty(v.Index(i)) {
				return true
			}
		}
		return v.Len() == 0
	default:
		return false
	}
}

// emptyFlag says that a flag has an empty value, and what to give.
func emptyFlag(f *kong.Flag) string {
	text := "the value is empty"
	if i := slices.IndexFunc(f.Envs, func(env string) bool { v, set := os.LookupEnv(env); return set && v == "" }); i >= 0 {
		text = fmt.Sprintf("the value in the environment, %s, is empty", f.Envs[i])
	}
	text += fmt.Sprintf(": give %s, or leave the flag out", cmp.Or(f.PlaceHolder, "one"))
	if f.HasDefault {
		text += fmt.Sprintf(" (default %s)", f.Default)
	}
	return text
}
