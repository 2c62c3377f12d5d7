package datafolder

import (
	"errors"
	"strings"
	"testing"
)

func TestParseKeys(t *testing.T) {
	one, two := NewKey(), NewKey()
	keys, err := ParseKeys("# in force\n" + one + "\r\n\n  " + two + "\n")
	if err != nil || len(keys) != 2 || keys[0] == keys[1] {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if again, err := ParseKeys(two); err != nil || again[0] != keys[1] {
		t.Errorf("%v", err)
	}
	for name, text := range map[string]string{
		"nothing": "", "comments": "# none\n", "another text": one + "\nsecret\n", "too short": keyPrefix + "c2VjcmV0", "cut": one[:len(one)-2],
	} {
		if _, err := ParseKeys(text); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEncrypted makes an encrypted data folder, which opens with its key alone, and changes the key.
func TestEncrypted(t *testing.T) {
	one, err := ParseKeys(NewKey())
	if err != nil {
		t.Fatal(err)
	}
	two, err := ParseKeys(NewKey())
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir() + "/data"
	if made, err := Make(t.Context(), folder, Options{Keys: one}); err != nil || !made {
		t.Fatal(made, err)
	}
	with := func(keys ...Key) error {
		f, err := Open(t.Context(), folder, Options{Keys: keys})
		if err != nil {
			return err
		}
		return f.Close()
	}
	if err := with(); !errors.Is(err, ErrSealed) {
		t.Errorf("without a key: %v", err)
	}
	if err := with(two...); !errors.Is(err, ErrSealed) {
		t.Errorf("with another key: %v", err)
	}
	if err := with(two[0], one[0]); err != nil {
		t.Errorf("with a new key before its own: %v", err)
	}
	if err := with(two...); err != nil {
		t.Errorf("with the new key: %v", err)
	}
}
