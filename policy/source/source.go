// Package source keeps what is known of the accounts elsewhere from which mail is imported: how far each folder of them was read, and the profiles by
// which that is repeated, with their passwords. It connects to nothing, and checks no rights.
//
// # Keys
//
// Everything is in the settings store of the engine, under the prefix "t". The spaces are for readability; integers are big-endian. An account and a
// folder stand there as the first 16 bytes of the SHA-256 of their names.
//
//	t a <archive> 0x00 <name>                       a profile, a JSON object with the fields of Profile and the password, sealed ("sealed")
//	t f <archive> 0x00 <account> <folder>           a folder of an account, a JSON object with the fields of Folder
//	t u <archive> 0x00 <account> <folder> <uid 4>   a message of that folder, since it was dealt with: see encode
//
// The value of a message is a byte 1 (the version), the State (1 byte), its size, the time of INTERNALDATE and that of the import (varints; the times are
// seconds since 1970, 0 for none), and of one that was taken its SHA-256 (32 bytes) and UID in the journal (varint), and the folder there with its month.
//
// The password of a profile is sealed with AES-256-GCM under the key of a file beside the data (Sealer), with the name of the archive, that of the
// profile and the account as additional data, so a seal opens nothing elsewhere. Nobody is shown a password again.
//
// All of an archive goes with it (Forget).
package source

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// State says what became of a message of a source.
type State byte

// The states of a message. They are stored.
const (
	Taken   State = 1 // the archive has it
	Refused State = 2 // it could not be read, or not be taken: the next run tries it once more, alone
)

// Message is what is known of a message of a folder.
type Message struct {
	UID   uint32
	Size  int64     // RFC822.SIZE, in bytes
	Date  time.Time // INTERNALDATE, to the second; zero where the server gave none
	State State
	// Of a message that was taken:
	Imported time.Time      // when, to the second
	SHA256   journal.Digest // of the bytes that the archive has
	In       string         // the folder there, with its month: "Imported/INBOX/2026-11"
	At       uint32         // its UID there
}

// Folder is how far a folder was read. Its JSON names are stored.
type Folder struct {
	Account     string `json:"account"`
	Name        string `json:"folder"` // as the server has it
	UIDValidity uint32 `json:"uidvalidity"`
	UIDNext     uint32 `json:"uidnext,omitempty"` // as of the last run; 0 where the server did not say
}

// Place names a folder of an account, for one archive.
type Place struct {
	Archive string // its name (policy.Mailbox.Archive)
	Account string
	Folder  string // as the server has it
}

// ErrForgotten says that what is known of a folder was removed meanwhile, with its archive.
var ErrForgotten = errors.New("what is known of the source is gone")

// Store keeps profiles and what is known of folders. Its methods may be called concurrently.
type Store struct {
	store   kv.Store
	sealer  Sealer
	sealing sync.Mutex // held while a password is sealed, which may make the key
}

// New returns the Store over a settings store, which the caller keeps and closes.
func New(settings kv.Store, sealer Sealer) *Store { return &Store{store: settings, sealer: sealer} }

const (
	profiles = "ta"
	folders  = "tf"
	messages = "tu"
)

// lock serialises all changes of what is known for one archive, with those of its settings.
func lock(archive string) []string { return []string{policy.SettingsLock(archive)} }

// prefix returns the beginning of all keys of a kind of an archive.
func prefix(kind, archive string) []byte { return []byte(kind + archive + "\x00") }

func short(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:16]
}

func (p Place) key(kind string) []byte {
	return append(append(prefix(kind, p.Archive), short(p.Account)...), short(p.Folder)...)
}

func (p Place) message(uid uint32) []byte { return binary.BigEndian.AppendUint32(p.key(messages), uid) }

// after returns the first key behind all that begin with a prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Folder returns how far a folder was read, and whether it ever was.
func (s *Store) Folder(ctx context.Context, p Place) (f Folder, known bool, err error) {
	value, err := s.store.Get(ctx, p.key(folders))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return f, false, nil
	case err == nil:
		err = json.Unmarshal(value, &f)
	}
	if err != nil {
		return f, false, fmt.Errorf("source %s, folder %q: %w", p.Account, p.Folder, err)
	}
	return f, true, nil
}

// SetFolder puts on record how far a folder was read. With anew, what is known of its messages is removed first.
func (s *Store) SetFolder(ctx context.Context, p Place, uidValidity, uidNext uint32, anew bool) error {
	f := Folder{p.Account, p.Folder, uidValidity, uidNext}
	value, err := json.Marshal(f)
	if err == nil && anew {
		// The folder first: a removal that breaks off is then done again.
		if err = s.remove(ctx, p.Archive, p.key(folders)); err == nil {
			err = s.remove(ctx, p.Archive, p.key(messages))
		}
	}
	if err == nil {
		err = s.store.Update(ctx, lock(p.Archive), func(tx kv.Tx) error {
			tx.Put(p.key(folders), value)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("note how far %q of %s was read: %w", p.Folder, p.Account, err)
	}
	return nil
}

// Messages yields what is known of the messages of a folder, by UID. If it cannot go on, it yields an error last.
func (s *Store) Messages(ctx context.Context, p Place) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		from := p.key(messages)
		for pair, err := range s.store.Scan(ctx, from, after(from)) {
			var m Message
			if err == nil {
				m, err = decode(binary.BigEndian.Uint32(pair.Key[len(from):]), pair.Value)
			}
			if err != nil {
				err = fmt.Errorf("what is known of %q of %s: %w", p.Folder, p.Account, err)
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Note puts on record what became of messages of a folder, and forgets others, in one update. The error is ErrForgotten if the folder is not on record.
func (s *Store) Note(ctx context.Context, p Place, dealt []Message, gone []uint32) error {
	if len(dealt) == 0 && len(gone) == 0 {
		return nil
	}
	err := s.store.Update(ctx, lock(p.Archive), func(tx kv.Tx) error {
		if _, err := tx.Get(p.key(folders)); errors.Is(err, kv.ErrNotFound) {
			return ErrForgotten
		} else if err != nil {
			return err
		}
		for _, m := range dealt {
			tx.Put(p.message(m.UID), m.encode())
		}
		for _, uid := range gone {
			tx.Delete(p.message(uid))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note what became of messages of %q of %s: %w", p.Folder, p.Account, err)
	}
	return nil
}

// KeepFolders forgets all folders of an account but those for which keep reports true.
func (s *Store) KeepFolders(ctx context.Context, archive, account string, keep func(folder string) bool) error {
	from := append(prefix(folders, archive), short(account)...)
	var drop []Place
	for pair, err := range s.store.Scan(ctx, from, after(from)) {
		var f Folder
		if err == nil {
			err = json.Unmarshal(pair.Value, &f)
		}
		if err != nil {
			return fmt.Errorf("folders of %s: %w", account, err)
		}
		if !keep(f.Name) {
			drop = append(drop, Place{archive, account, f.Name})
		}
	}
	for _, p := range drop {
		if err := s.remove(ctx, archive, p.key(messages)); err != nil {
			return err
		}
		if err := s.remove(ctx, archive, p.key(folders)); err != nil {
			return err
		}
	}
	return nil
}

// Forget removes everything of an archive, by its name, that is being erased.
func (s *Store) Forget(ctx context.Context, archive string) error {
	for _, kind := range []string{profiles, folders, messages} {
		if err := s.remove(ctx, archive, prefix(kind, archive)); err != nil {
			return fmt.Errorf("remove the sources of %s: %w", archive, err)
		}
	}
	return nil
}

// removeStep is how many keys go in one update.
const removeStep = 1000

// remove deletes all keys with a prefix, in steps.
func (s *Store) remove(ctx context.Context, archive string, prefix []byte) error {
	for {
		var keys [][]byte
		for pair, err := range s.store.Scan(ctx, prefix, after(prefix)) {
			if err != nil {
				return err
			}
			if keys = append(keys, pair.Key); len(keys) == removeStep {
				break
			}
		}
		if len(keys) == 0 {
			return nil // most have none, which needs no write
		}
		err := s.store.Update(ctx, lock(archive), func(tx kv.Tx) error {
			for _, k := range keys {
				tx.Delete(k)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

const encodingVersion = 1

var errEncoding = errors.New("malformed value")

func (m Message) encode() []byte {
	b := []byte{encodingVersion, byte(m.State)}
	b = binary.AppendVarint(b, m.Size)
	b = binary.AppendVarint(b, seconds(m.Date))
	b = binary.AppendVarint(b, seconds(m.Imported))
	if m.State == Taken {
		b = append(b, m.SHA256[:]...)
		b = binary.AppendVarint(b, int64(m.At))
		b = append(b, m.In...)
	}
	return b
}

func decode(uid uint32, b []byte) (Message, error) {
	m := Message{UID: uid}
	if len(b) < 2 || b[0] != encodingVersion {
		return m, errEncoding
	}
	m.State, b = State(b[1]), b[2:]
	ok := true
	number := func() int64 {
		n, size := binary.Varint(b)
		if size <= 0 {
			ok = false
			return 0
		}
		b = b[size:]
		return n
	}
	m.Size, m.Date, m.Imported = number(), timeOf(number()), timeOf(number())
	if m.State == Taken {
		if len(b) < len(m.SHA256) {
			return m, errEncoding
		}
		b = b[copy(m.SHA256[:], b):]
		m.At, m.In = uint32(number()), ""
		m.In = string(b)
	}
	if !ok || m.State != Taken && m.State != Refused {
		return m, errEncoding
	}
	return m, nil
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
