package daemon

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// help prints the help of a binary, or of one of its commands. The binary's own has the flags of
// the command that runs when none is named.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	options.Compact, options.FlagsLast, options.NoAppDescFormat = true, true, true
	options.ValueFormatter = describe
	node := ctx.Model.Node
	if ctx.Selected() == nil && node.DefaultCmd != nil && !options.Summary {
		// Printing help ends the process, so nobody else sees the flags in this place.
		node.Flags = append(node.Flags, node.DefaultCmd.Flags...)
	}
	if selected := ctx.Selected(); selected != nil {
		options.NoAppSummary = true
		if _, err := fmt.Fprintf(ctx.Stdout, "Usage: %s %s\n", ctx.Model.Name, usage(selected)); err != nil {
			return err
		}
	}
	return kong.DefaultHelpPrinter(options, ctx)
}

// describe is the help of a flag or an argument. Kong shows the default in place of a missing
// placeholder. That each flag can be set in the environment is said once, elsewhere.
func describe(v *kong.Value) string {
	if v.Flag == nil || v.Flag.PlaceHolder == "" || v.Default == "" {
		return v.Help
	}
	return fmt.Sprintf("%s Default: %s.", v.Help, v.Default)
}

// usage is kong's summary of a command, except that flags of which one is required are shown as
// alternatives.
func usage(node *kong.Node) string {
	groups := map[string][]string{}
	for _, f := range node.Flags {
		if f.Required && len(f.Xor) > 0 {
			groups[f.Xor[0]] = append(groups[f.Xor[0]], f.Summary())
		}
	}
	text := node.Summary()
	for _, flags := range groups {
		text = strings.Replace(text, strings.Join(flags, " "), "("+strings.Join(flags, " | ")+")", 1)
	}
	return text
}
