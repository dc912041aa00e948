package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/transcript"
)

// served is a server that runs, and its API's address.
type served struct {
	site
	address string
	cmd     *exec.Cmd
	said    *transcript.Buffer
}

func serve(t *testing.T, args ...string) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &served{site: site{t, t.TempDir()}, address: l.Addr().String()}
	require.NoError(t, l.Close())
	s.cmd, s.said = s.command(append([]string{"--bus-listen=127.0.0.1:0", "--admin-project=demo", "--listen=" + s.address}, args...))
	require.NoError(t, s.cmd.Start())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, patience, 10*time.Millisecond, "%s", s.said)
	return s
}

// post makes networks, and returns the status and the type of an error.
func (s *served) post(body string) (int, string) {
	s.Helper()
	answer, err := http.Post("http://"+s.address+"/v2.0/networks", "application/json", strings.NewReader(body))
	require.NoError(s, err)
	defer answer.Body.Close()
	var said struct{ NeutronError struct{ Type string } }
	require.NoError(s, json.NewDecoder(answer.Body).Decode(&said))
	return answer.StatusCode, said.NeutronError.Type
}

func (s *served) dial() *net.TCPConn {
	s.Helper()
	c, err := net.Dial("tcp", s.address)
	require.NoError(s, err)
	s.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// memory is the most that the process has had of it, in MiB.
func (s *served) memory() int {
	s.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	require.NoError(s, err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] == "VmHWM:" {
			n, err := strconv.Atoi(fields[1])
			require.NoError(s, err)
			return n >> 10
		}
	}
	s.Fatal("no VmHWM")
	return 0
}

// deaf has a connection ask for the list of networks many times, and read no answer.
func deaf(c *net.TCPConn) error {
	request := "GET /v2.0/networks HTTP/1.1\r\nHost: localhost\r\n\r\n"
	_, err := io.WriteString(c, strings.Repeat(request, 30))
	return errors.Join(c.SetReadBuffer(4096), err)
}

// TestClientsCannotHoldTheServer has a server's clients do their worst, each in turn, and the
// server go on, and end when it is told to.
func TestClientsCannotHoldTheServer(t *testing.T) {
	s := serve(t, "--quota=network=-1", "--max-body-memory=8388608", "--write-timeout=1s", "--shutdown-timeout=1s")

	// A request for 300,000 networks was one transaction of a minute.
	status, name := s.post(`{"networks": [` + strings.Repeat(`{},`, 299_999) + `{}]}`)
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	require.Equal(t, "HTTPRequestEntityTooLarge", name)
	status, _ = s.post(`{"networks": [` + strings.Repeat(`{"description": "`+strings.Repeat("x", 255)+`"},`, 499) + `{}]}`)
	require.Equal(t, http.StatusCreated, status)

	// 500 clients that send large bodies slowly.
	before := s.memory()
	var all sync.WaitGroup
	var slow []net.Conn
	head := fmt.Sprintf("POST /v2.0/networks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 1<<20)
	for range 500 {
		c := s.dial()
		slow = append(slow, c)
		all.Go(func() {
			_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, head+strings.Repeat(" ", 1<<20-1)) // fails where the server has had enough
		})
	}
	all.Wait()
	grown := s.memory() - before
	t.Logf("the server has had %d MiB more for 500 bodies of 1 MiB", grown)
	require.Less(t, grown, 200)
	for _, c := range slow {
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool {
		status, _ := s.post(`{"network": {}}` + strings.Repeat(" ", 1<<20-100))
		return status == http.StatusCreated
	}, patience, 10*time.Millisecond)

	// Clients that ask and never read are disconnected.
	var silent []*net.TCPConn
	for range 10 {
		c := s.dial()
		require.NoError(t, deaf(c))
		silent = append(silent, c)
	}
	for _, c := range silent {
		require.Eventually(t, func() bool {
			_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := c.Write([]byte("GET "))
			return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
		}, patience, time.Millisecond)
	}

	// They do not hold up the end either.
	for range 20 {
		require.NoError(t, deaf(s.dial()))
	}
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, s.cmd.Wait(), "%s", s.said)
}
