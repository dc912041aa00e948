package daemon

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"sigs.k8s.io/yaml"

	"github.com/l3kit/l3kit/examples/internal/files"
)

// ownFlags takes flags with the tag own from the environment, and so from the file: those that say what one call of a command is to do, some of which are
// named like flags of another command.
func ownFlags() kong.Option {
	return kong.PostBuild(func(k *kong.Kong) error {
		eachFlag(k.Model.Node, func(f *kong.Flag) {
			if f.Tag.Has("own") {
				f.Envs, f.Tag.Envs = nil, nil
			}
		})
		return nil
	})
}

func eachFlag(n *kong.Node, fn func(*kong.Flag)) {
	for _, f := range n.Flags {
		fn(f)
	}
	for _, child := range n.Children {
		eachFlag(child, fn)
	}
}

// settings are flags from a YAML file, by their names, whichever command they are of: a binary's commands share one file. What is on the command line or
// in the environment counts more.
type settings map[string]any

func readSettings(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s := settings{}
	if err := yaml.UnmarshalStrict(text, &s); err != nil {
		return nil, errors.New(oneLine(err))
	}
	if file, ok := r.(*os.File); ok && s.secret() {
		info, err := file.Stat()
		if err != nil {
			return nil, err
		}
		if err := files.Check("--config", file.Name(), info); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// secret reports whether the settings have a password.
func (s settings) secret() bool {
	for name := range s {
		if strings.HasSuffix(name, "password") {
			return true
		}
	}
	return false
}

// Validate refuses names that no flag has: the misspelt one may be the one that somebody counts on.
func (s settings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	eachFlag(app.Node, func(f *kong.Flag) { known[f.Name] = known[f.Name] || len(f.Envs) > 0 })
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if !known[name] {
			return fmt.Errorf("the file of --config has %q, which is no flag", name)
		}
	}
	return nil
}

// Resolve is called by kong for each flag that is not on the command line.
func (s settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	if len(flag.Envs) == 0 {
		return nil, nil
	}
	return s[flag.Name], nil
}
