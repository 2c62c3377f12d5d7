package level

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNewerRegister checks that a register of a newer program is refused with that reason, and left alone.
func TestNewerRegister(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, registerName)
	newer := fmt.Sprintf(`{"format":%d,"archive":["A"],"of the newer program":1}`, registerFormat+1)
	if err := os.WriteFile(path, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, Options{Logger: testLogger(t)})
	want := fmt.Sprintf("register %s has format %d, and this program knows %d: use the copialettere that wrote it, or a newer one", path, registerFormat+1, registerFormat)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != newer {
		t.Errorf("the register is %q now, %v", b, err)
	}
}
