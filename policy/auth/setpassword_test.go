package auth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"copialettere/policy"
)

func TestSetPassword(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"empty file", "", "anna@alpha.test:HASH\n"},
		{"another user", "mario@alpha.test:x\n", "mario@alpha.test:x\nanna@alpha.test:HASH\n"},
		{"no line end", "mario@alpha.test:x", "mario@alpha.test:x\nanna@alpha.test:HASH\n"},
		{"replaced", "# staff\nanna@alpha.test:old:::::::userdb_quota_rule=*:bytes=1\nmario@alpha.test:x\n",
			"# staff\nanna@alpha.test:HASH:::::::userdb_quota_rule=*:bytes=1\nmario@alpha.test:x\n"},
		{"as written", "Anna@Alpha.test:old\r\nmario@alpha.test:x\r\n", "Anna@Alpha.test:HASH\r\nmario@alpha.test:x\r\n"},
		{"commented out", "#anna@alpha.test:old\n", "#anna@alpha.test:old\nanna@alpha.test:HASH\n"},
		{"twice", "anna@alpha.test:old\nanna@alpha.test:older\n", "anna@alpha.test:HASH\nanna@alpha.test:older\n"},
		{"no password yet", "anna@alpha.test\n", "anna@alpha.test:HASH\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "passwd")
			if err := os.WriteFile(file, []byte(c.before), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, 0o640); err != nil {
				t.Fatal(err)
			}
			if err := SetPassword(file, address(t, anna), password); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			u := parseUsers(file, string(text), nil)
			line, ok := u.index[address(t, anna)]
			if !ok || !u.lines[line].hash.matches(password) {
				t.Fatalf("the password does not match in\n%s%v", text, u.problems)
			}
			_, rest, _ := strings.Cut(string(text), "{ARGON2ID}")
			hash := rest[:strings.IndexAny(rest, ":\r\n")]
			if got := strings.Replace(string(text), "{ARGON2ID}"+hash, "HASH", 1); got != c.after {
				t.Errorf("got\n%s\nwant\n%s", got, c.after)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestSetPasswordRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	for _, c := range []struct {
		name, password string
		address        policy.Address
		want           error
	}{
		{"short", "1234567", address(t, anna), ErrPassword},
		{"long", strings.Repeat("x", maxSecret+1), address(t, anna), ErrPassword},
		{"NUL", "cera\x00lacca", address(t, anna), ErrPassword},
		{"not UTF-8", "cera-lacca\xff", address(t, anna), ErrPassword},
		{"no domain", password, policy.Address{Local: "postmaster"}, policy.ErrAddress},
		{"a comment", password, policy.Address{Local: "#a", Domain: "alpha.test"}, policy.ErrAddress},
		{"colon", password, policy.Address{Local: "a:b", Domain: "alpha.test"}, policy.ErrAddress},
	} {
		if err := SetPassword(file, c.address, c.password); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file was made: %v", err)
	}
	if err := SetPassword(filepath.Join(file, "absent", "passwd"), address(t, anna), password); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

// TestSetPasswordOfLink has a path that leads to the file of the mail server: the link stays, and the file has the password.
func TestSetPasswordOfLink(t *testing.T) {
	folder := t.TempDir()
	file, link := filepath.Join(t.TempDir(), "users"), filepath.Join(folder, "passwd")
	if err := errors.Join(os.WriteFile(file, []byte("mario@alpha.test:x\n"), 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	if err := SetPassword(link, address(t, anna), password); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "\nanna@alpha.test:{") {
		t.Errorf("the file is %q, %v", text, err)
	}
	if to, err := os.Readlink(link); err != nil || to != file {
		t.Errorf("the link leads to %q, %v", to, err)
	}
}

// TestSetPasswordMakesFile checks that a new file is nobody else's to read.
func TestSetPasswordMakesFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	if err := SetPassword(file, address(t, anna), password); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestSetPasswordsAtOnce sets several passwords at a time. None is lost.
func TestSetPasswordsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwd")
	const people = 8
	var wait sync.WaitGroup
	for n := range people {
		wait.Go(func() {
			if err := SetPassword(file, policy.Address{Local: fmt.Sprintf("user%d", n), Domain: "alpha.test"}, password); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if u := parseUsers(file, string(text), nil); len(u.lines) != people || len(u.problems) > 0 {
		t.Errorf("%d of %d passwords are there: %v", len(u.lines), people, u.problems)
	}
}
