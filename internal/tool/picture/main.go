package main

import (
	"fmt"
	"os"
)

func main() {
	if err := os.WriteFile("internal/tool/picture/overview.svg", overview(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}
