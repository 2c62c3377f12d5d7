package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"copialettere/cmd/copialettere/config"
	"copialettere/policy"
	"copialettere/policy/auth"
)

const passwordHelp = `Usage: copialettere password ADDR [-config FILE] [-json]

Sets the password by which ADDR signs in, in the password file that [auth] names. It reads the password from standard input, one line, and does
not show it. It adds the address if it is not there; mode, owner and group of the file stay. A running daemon takes the new password at the next
login. Run it as somebody who may write the file and its folder.

Where [auth] names Dovecot, passwords are the provider's, and this command does not apply.

Example: copialettere password mario@alpha.test
Example: pwgen -s 20 1 | copialettere password mario@alpha.test
`

// maxPasswordLine is the longest line that is read as a password, in bytes.
const maxPasswordLine = 64 << 10

func runPassword(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR"); err != nil {
		return err
	}
	a, err := policy.ParseAddress(args[0])
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	switch {
	case c.Auth == nil:
		return errors.New("the configuration has no section [auth]: add it, with source = \"file:/etc/copialettere/passwd\"")
	case c.Auth.Source.Kind != auth.SourceFile:
		return fmt.Errorf("passwords are checked by %s: set the password there", c.Auth.Source)
	case slices.ContainsFunc(append(c.ArchiveHosts, config.ArchiveHost{Name: c.Auth.ArchiveHost}), func(h config.ArchiveHost) bool {
		return h.Name != "" && h.Name == policy.ASCIIDomain(a.Domain)
	}):
		return fmt.Errorf("%w: %s is the name of an archive: give the address that it stands for", errUsage, a)
	}
	password, err := in.readPassword(a)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := auth.SetPassword(c.Auth.Source.Address, a, password); err != nil {
		return err
	}
	if in.json {
		return in.printJSON(map[string]string{"login": a.String(), "file": c.Auth.Source.Address})
	}
	fmt.Fprintf(in.stdout, "%s: the password is set in %s\n", a, c.Auth.Source.Address)
	return nil
}

// readPassword reads a new password from standard input.
func (in *invocation) readPassword(a policy.Address) (string, error) {
	return in.readSecret(in.secrets(), "New password of "+a.String())
}

// secrets returns the lines of standard input.
func (in *invocation) secrets() *bufio.Reader {
	return bufio.NewReader(io.LimitReader(in.stdin, maxPasswordLine))
}

// readSecret reads one line. On a terminal it asks for it, and does not show what is typed.
func (in *invocation) readSecret(lines *bufio.Reader, what string) (string, error) {
	if f, ok := in.stdin.(*os.File); ok {
		if mode, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			fmt.Fprintf(in.stderr, "%s: ", what)
			silent := *mode
			silent.Lflag &^= unix.ECHO
			if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &silent); err != nil {
				return "", fmt.Errorf("terminal: %w", err)
			}
			defer fmt.Fprintln(in.stderr)
			defer unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, mode)
		}
	}
	line, err := lines.ReadString('\n')
	if err != nil && (err != io.EOF || line == "") {
		return "", fmt.Errorf("read the password from standard input: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}
