// Package files looks after files that flags name: their permissions and paths.
package files

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/l3kit/l3kit/examples/internal/setting"
)

// others is the permission bits of those who are neither a file's owner nor in its group.
const others fs.FileMode = 0o007

// groupWrite is the permission of a file's group to change it.
const groupWrite fs.FileMode = 0o020

// Secret refuses a file with a secret that everybody can read, or others than the owner can change.
// Its group may read it: a service often has no other access to its secrets. The flag names the
// file.
func Secret(flag, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return setting.For(flag, err)
	}
	return Check(flag, path, info)
}

// Check is Secret for a file whose information is known.
func Check(flag, path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&(others|groupWrite) != 0 {
		return setting.Errorf("%s: %s is a secret that others than its owner can read or change (%s): chmod g-w,o= it, and replace the secret "+
			"if they are not to be trusted", flag, path, mode)
	}
	return nil
}

// ReadSecret returns the text of a file that passes Secret, without white space around it.
func ReadSecret(flag, path string) (string, error) {
	if err := Secret(flag, path); err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", setting.For(flag, err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", setting.Errorf("%s: %s: the file is empty", flag, path)
	}
	return secret, nil
}

// WarnOfOthers warns of files and directories, where they exist, that everybody can open: such as
// those that were made with other permissions than they are made with today.
func WarnOfOthers(log *slog.Logger, paths ...string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&others != 0 {
			log.Warn("everybody on this host can open what is the service's: chmod o= it", "path", path, "mode", info.Mode().Perm())
		}
	}
}

// Absolute returns the absolute path, or the path itself if it is empty or the working directory is
// unknown.
func Absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		return abs
	}
	return path
}
