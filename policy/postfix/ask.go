package postfix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	programTimeout = 30 * time.Second // for one run of a program
	programWait    = 2 * time.Second  // for its output to end after that
	maxComplaint   = 4 << 10          // bytes of standard error that are kept
	maxAnswer      = 1 << 20          // bytes that postconf may print; about 32 kB are usual
)

// programFolders are searched after PATH, because the PATH of an ordinary user often lacks them.
var programFolders = [...]string{"/usr/sbin", "/usr/local/sbin"}

// run runs a program of Postfix, without a shell, and returns its standard output. More than most bytes of output are an error. Postfix's programs
// exit with status 1 both when a key is not found and after an error; only after an error do they print "fatal:".
func run(ctx context.Context, input []byte, most int, name string, arguments ...string) ([]byte, error) {
	path, err := programPath(name, programFolders[:])
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, path, arguments...)
	command.WaitDelay = programWait
	answer, complaint := &bounded{most: most}, &bounded{most: maxComplaint, drop: true}
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), answer, complaint
	err = command.Run()
	switch {
	case answer.full:
		return nil, fmt.Errorf("%s answers more than %d bytes", name, most)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", name, ctx.Err())
	}
	if fatal := fatal(complaint.text.String()); fatal != "" {
		return nil, fmt.Errorf("%s: %s", name, fatal)
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return answer.text.Bytes(), nil
}

// programPath returns the path of a program in PATH or else in one of the folders.
func programPath(name string, folders []string) (string, error) {
	path, err := exec.LookPath(name)
	for i := 0; err != nil && i < len(folders); i++ {
		path, err = exec.LookPath(filepath.Join(folders[i], name))
	}
	if err != nil {
		return "", fmt.Errorf("%s is neither in PATH nor in %s", name, strings.Join(folders, " or "))
	}
	return path, nil
}

// fatal returns the error that a program printed before it gave up; "" if there is none.
func fatal(complaint string) string {
	for line := range strings.Lines(complaint) {
		for _, mark := range []string{"fatal: ", "panic: "} {
			if _, text, ok := strings.Cut(line, mark); ok {
				return strings.ToValidUTF8(strings.TrimSpace(text), "?")
			}
		}
	}
	return ""
}

// bounded keeps output up to a length. It drops the rest, or fails, which ends the program.
type bounded struct {
	text bytes.Buffer
	most int
	drop bool
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.most-b.text.Len())
	b.text.Write(p[:n])
	if n == len(p) || b.drop {
		return len(p), nil
	}
	b.full = true
	return n, io.ErrShortWrite
}
