package clients_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// fetched is the folder of installed, empty as long as no test needed it.
var fetched string

// installed is the folder with the packages of testdata/node, in the versions of its
// lock file. They are fetched once, into a folder of the tests' own.
var installed = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is not installed: install Node.js 18 or later (on Debian: apt-get install nodejs npm)", program)
		}
	}
	dir, err := os.MkdirTemp("", "chatmux-clients-")
	if err != nil {
		return "", err
	}
	fetched = dir
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "node"))); err != nil {
		return dir, err
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(fetched) // nothing where nothing was fetched
	os.Exit(code)
}

// nodeClient is a client for Node.js, in a process of its own: a line of JSON for each
// request, and one for what came of it.
type nodeClient struct {
	in  io.Writer
	out *bufio.Reader
}

func startNode(t *testing.T, h *house, script string) client {
	t.Helper()
	dir, err := installed()
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatal(err)
	case err != nil:
		t.Skip("without the clients for Node.js: ", err)
	}
	node := exec.CommandContext(t.Context(), "node", script)
	node.Dir, node.Stderr = dir, os.Stderr
	node.Env = append(os.Environ(), "BASE_URL="+h.url(), "API_KEY="+callersKey, "AI_SDK_LOG_WARNINGS=false")
	in, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = node.Wait()
	})
	return &nodeClient{in: in, out: bufio.NewReader(out)}
}

func (c *nodeClient) do(t *testing.T, r request) (got result) {
	t.Helper()
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	if line, err = c.out.ReadBytes('\n'); err != nil {
		t.Fatalf("the client ended: %v", err)
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return got
}
