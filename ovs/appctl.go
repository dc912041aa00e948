package ovs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// command runs a command of ovs-vswitchd, as ovs-appctl(8) does: by JSON-RPC on its control socket.
func (c Config) command(ctx context.Context, method string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ovs-vswitchd %s: %w", method, err)
		}
	}()
	path, err := c.controlSocket()
	if err != nil {
		return err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(map[string]any{"id": 0, "method": method, "params": []string{}}); err != nil {
		return err
	}
	var reply struct {
		Error any `json:"error"`
	}
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return errors.Join(err, ctx.Err())
	}
	if reply.Error != nil {
		return fmt.Errorf("refused: %v", reply.Error)
	}
	return nil
}

// controlSocket is named after the process, whose number is in a file, unless it was started with
// --unixctl.
func (c Config) controlSocket() (string, error) {
	named := filepath.Join(c.RunDir, "ovs-vswitchd.ctl")
	if _, err := os.Stat(named); err == nil {
		return named, nil
	}
	pid, err := os.ReadFile(filepath.Join(c.RunDir, "ovs-vswitchd.pid"))
	if err != nil {
		return "", err
	}
	return filepath.Join(c.RunDir, "ovs-vswitchd."+strings.TrimSpace(string(pid))+".ctl"), nil
}
