package daemon

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
	yamljson "sigs.k8s.io/yaml"

	"github.com/l3kit/l3kit/examples/internal/files"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

// ownFlags takes flags with the tag own from the environment, and so from the file: those that say
// what one call of a command is to do, some of which are named like flags of another command.
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

// ConfigFile is a flag that names a YAML file of settings. Each is a flag by its name, of whichever
// command: a binary's commands share one file. The command line and the environment take
// precedence.
type ConfigFile string

// BeforeResolve is called by kong.
func (ConfigFile) BeforeResolve(ctx *kong.Context, trace *kong.Path) error {
	file := string(ctx.FlagValue(trace.Flag).(ConfigFile))
	if file == "" {
		return fmt.Errorf("--config: %s", emptyFlag(trace.Flag))
	}
	s, err := readSettings(file)
	if err != nil {
		return setting.For("--config", err)
	}
	ctx.AddResolver(s)
	return nil
}

// settings are the contents of a file.
type settings struct {
	file   string
	values map[string]any
	nodes  map[string]*yaml.Node // of the values
	lines  map[string]int        // of the keys
}

// ReadSettings reads a file of settings.
func ReadSettings(path string) (kong.Resolver, error) { return readSettings(path) }

func readSettings(path string) (*settings, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &settings{file: path, values: map[string]any{}, nodes: map[string]*yaml.Node{}, lines: map[string]int{}}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, s.fault(err)
	}
	if len(document.Content) > 0 && document.Content[0].Tag != "!!null" {
		top := document.Content[0]
		if top.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("%s: line %d: must be a mapping of flags to values", path, top.Line)
		}
		for pair := range slices.Chunk(top.Content, 2) {
			key, line := pair[0].Value, pair[0].Line
			if earlier, twice := s.lines[key]; twice {
				return nil, fmt.Errorf("%s: line %d: %s: it is set in line %d already", path, line, key, earlier)
			}
			s.lines[key], s.nodes[key] = line, pair[1]
		}
	}
	if err := yamljson.UnmarshalStrict(text, &s.values); err != nil {
		return nil, s.fault(err)
	}
	if !s.secret() {
		return s, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return s, files.Check("a password in a file", path, info)
}

// fault names the file. The text of err names the line.
func (s *settings) fault(err error) error {
	text := oneLine(err)
	if _, after, found := strings.Cut(text, "yaml: "); found {
		text = after
	}
	return fmt.Errorf("%s: not valid YAML: %s", s.file, text)
}

func (s *settings) at(key string) string {
	return fmt.Sprintf("%s: line %d: %s", s.file, s.lines[key], key)
}

// secret reports whether the settings have a password.
func (s *settings) secret() bool {
	for name := range s.values {
		if strings.HasSuffix(name, "password") {
			return true
		}
	}
	return false
}

// Validate refuses names that no flag has: the misspelt one may be the one that somebody counts on.
func (s *settings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	eachFlag(app.Node, func(f *kong.Flag) { known[f.Name] = known[f.Name] || len(f.Envs) > 0 })
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		if !known[name] {
			return fmt.Errorf("--config: %s: there is no such flag", s.at(name))
		}
	}
	return nil
}

// Resolve is called by kong for each flag that is not on the command line.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, given := s.values[flag.Name]
	if !given || value == nil || InEnvironment(flag) || len(flag.Envs) == 0 {
		return nil, nil
	}
	value, err := s.value(flag)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.at(flag.Name), err)
	}
	// Kong would refuse the value without naming the file.
	scratch := reflect.New(flag.Target.Type()).Elem()
	if err := flag.Parse(kong.Scan().PushTyped(value, kong.FlagValueToken), scratch); err != nil {
		return nil, fmt.Errorf("%s: %s", s.at(flag.Name), reason(flag, err))
	}
	if refusesEmpty(flag.Value, scratch) {
		return nil, fmt.Errorf("%s: %s", s.at(flag.Name), emptyFlag(flag))
	}
	if enum := flag.EnumSlice(); flag.Enum != "" && !slices.Contains(enum, fmt.Sprint(value)) {
		return nil, fmt.Errorf("%s: must be one of %s, but is %q", s.at(flag.Name), strings.Join(enum, ", "), fmt.Sprint(value))
	}
	return value, nil
}

// value returns what a flag is set to as the text of the file, so that it means what it means on
// the command line: there is no duration without a unit, and a password may look like a number.
func (s *settings) value(flag *kong.Flag) (any, error) {
	n := s.nodes[flag.Name]
	kind := flag.Target.Kind()
	switch {
	case n == nil || kind == reflect.Bool:
		return s.values[flag.Name], nil // YAML has more words for true and false than kong
	case n.Kind == yaml.AliasNode:
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode && kind == reflect.Slice:
		list := make([]any, len(n.Content))
		for i, element := range n.Content {
			if element.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("entry %d of the list is not a text or a number", i+1)
			}
			list[i] = element.Value
		}
		return list, nil
	case n.Kind == yaml.MappingNode && kind == reflect.Map:
		entries := make(map[string]any, len(n.Content)/2)
		for pair := range slices.Chunk(n.Content, 2) {
			if pair[1].Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("%s is not set to a text or a number", pair[0].Value)
			}
			entries[pair[0].Value] = pair[1].Value
		}
		return entries, nil
	case kind == reflect.Slice:
		return nil, errors.New("must be a value or a list of values")
	case kind == reflect.Map:
		return nil, errors.New("must be a mapping of names to values")
	}
	return nil, errors.New("must be one value, neither a list nor a mapping")
}

// reason is why kong refused a value, without the name of the flag and the types of Go.
func reason(flag *kong.Flag, err error) string {
	text := strings.TrimPrefix(err.Error(), "--"+flag.Name+": ")
	if _, after, converted := strings.Cut(text, " -> *"); converted {
		_, text, _ = strings.Cut(after, ": ")
	}
	return text
}

// InEnvironment reports whether a flag is set in the environment.
func InEnvironment(flag *kong.Flag) bool {
	return slices.ContainsFunc(flag.Envs, func(env string) bool {
		_, ok := os.LookupEnv(env)
		return ok
	})
}
