package control

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/l3kit/l3kit/examples/internal/setting"
)

// leastSecret is what a secret has at least, in bytes.
const leastSecret = 16

// readSecret reads the secret of an embedded bus, which nobody else may be able to read.
func readSecret(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, setting.Errorf("--bus-secret-file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, setting.Errorf("--bus-secret-file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, setting.Errorf("--bus-secret-file: %s is not a file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, setting.Errorf("--bus-secret-file: %s can be read or written by others than its owner (%s): chmod 600 it, "+
			"and if they are not to be trusted, remove it and give the agents new passwords", path, info.Mode().Perm())
	}
	text := make([]byte, 4096)
	n, err := file.Read(text)
	secret := bytes.TrimSpace(text[:n])
	switch {
	case len(secret) < leastSecret:
		return nil, setting.Errorf("--bus-secret-file: %s has less than %d bytes", path, leastSecret)
	case err != nil:
		return nil, setting.Errorf("--bus-secret-file: %w", err)
	}
	return secret, nil
}

// makeSecret reads the secret, and makes the file if it is missing: whole or not at all, and one
// only, however many do so at once. It reports whether it made the file.
func makeSecret(path string) (secret []byte, made bool, err error) {
	if secret, err = readSecret(path); !errors.Is(err, fs.ErrNotExist) {
		return secret, false, err
	}
	err = writeSecret(path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("--bus-secret-file: create it: %w", err)
	}
	made = err == nil
	secret, err = readSecret(path)
	return secret, made, err
}

func writeSecret(path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".l3kit-secret-*") // its mode is 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(rand.Text() + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Link(file.Name(), path) // which fails where there is one
	}
	return errors.Join(err, os.Remove(file.Name()))
}
