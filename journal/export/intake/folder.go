package intake

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// maxLevels is how deep folders of a disk are followed.
const maxLevels = 100

// folder walks a folder of a disk.
func (w *walk) folder(root *os.Root, name string, level int) error {
	shown := strings.TrimPrefix(name, "./")
	if level > maxLevels {
		return w.left(Refused, shown, say("si trova troppo in profondità: importarla da sola", "it lies too deep: import it by itself"))
	}
	list, err := readFolder(root, name)
	if err != nil {
		return w.left(Refused, shown, say("la cartella non si può leggere: %v", "the folder cannot be read: %v"), cause(err))
	}
	in := make(map[string]bool)
	for _, one := range list {
		in[one.Name()] = one.IsDir()
	}
	maildir := in["cur"] || in["new"]
	// The manifest comes first: it tells what the others are.
	for _, one := range list {
		if !one.IsDir() && isManifest(one.Name()) {
			if err := w.open(root, path.Join(name, one.Name()), func(s source) error { return w.readManifest(s) }); err != nil {
				return err
			}
		}
	}
	for _, one := range list {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		below := path.Join(name, one.Name())
		switch mode := one.Type(); {
		case mode.IsDir() && maildir && one.Name() == "tmp":
			err = w.unfinished(root, below)
		case mode.IsDir() && one.Name() == "__MACOSX":
			err = w.left(Skipped, below, say("annotazioni di macOS, non posta", "notes of macOS, no mail"))
		case mode.IsDir():
			err = w.folder(root, below, level+1)
		case mode&fs.ModeSymlink != 0:
			err = w.left(Refused, below, say("un collegamento simbolico, che non viene seguito: importare da sé ciò a cui porta", "a symbolic link, which is not followed: import what it leads to by itself"))
		case !mode.IsRegular():
			err = w.left(Refused, below, say("non è un file", "no regular file"))
		default:
			err = w.open(root, below, w.file)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unfinished tells of the files in the tmp of a Maildir.
func (w *walk) unfinished(root *os.Root, name string) error {
	list, err := readFolder(root, name)
	if err != nil {
		return w.left(Refused, name, say("la cartella non si può leggere: %v", "the folder cannot be read: %v"), cause(err))
	}
	for _, one := range list {
		if err := w.left(Refused, path.Join(name, one.Name()), unfinishedText); err != nil {
			return err
		}
	}
	return nil
}

var unfinishedText = say("una consegna mai terminata: se è intera, spostarla in new e importare di nuovo", "a delivery that was never finished: if it is whole, move it to new and import again")

// readFolder returns what is in a folder, by name.
func readFolder(root *os.Root, name string) ([]fs.DirEntry, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return list, err
}

// open opens a file for read. A FIFO that has taken its place must not hold it up.
func (w *walk) open(root *os.Root, name string, read func(source) error) error {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return w.left(Refused, name, say("non si può leggere: %v", "it cannot be read: %v"), cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return w.left(Refused, name, say("non è un file", "no regular file"))
	}
	folder, base, maildir := placeOf(name)
	return read(source{name: name, key: name, folder: folder, base: base, r: f, size: info.Size(), modified: info.ModTime(), maildir: maildir})
}

// cause returns an error without the name of the file, which is told anyway.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// maildirName is how programs name the files of a Maildir: by the second of the delivery, and more. Others in folders of these names are found out by
// their content.
var maildirName = regexp.MustCompile(`^[0-9]{6,}[._]`)

// placeOf returns the folders that a path leads through, as their mail program calls them, and the name of the file.
func placeOf(name string) (folder []string, base string, maildir bool) {
	levels := strings.Split(path.Clean("/" + strings.ReplaceAll(name, `\`, "/"))[1:], "/")
	levels, base = levels[:len(levels)-1], levels[len(levels)-1]
	if n := len(levels); n > 0 && (levels[n-1] == "cur" || levels[n-1] == "new") {
		levels, maildir = levels[:n-1], maildirName.MatchString(base)
	}
	apple := strings.HasSuffix(base, ".emlx")
	for _, level := range levels {
		own, mbox := strings.CutSuffix(level, ".mbox")
		switch {
		case mbox:
			folder = append(folder, own)
		case apple && slices.ContainsFunc(levels, func(s string) bool { return strings.HasSuffix(s, ".mbox") }):
			// Apple Mail numbers what lies in the folders of a mailbox.
		case maildir && strings.HasPrefix(level, ".") && len(level) > 1:
			for part := range strings.SplitSeq(level[1:], ".") {
				folder = append(folder, decodeUTF7(part))
			}
		default:
			folder = append(folder, strings.TrimSuffix(level, ".sbd"))
		}
	}
	return folder, base, maildir
}

// mboxFolder returns the folder for the messages of an mbox.
func mboxFolder(s source) []string {
	name := s.base
	for _, end := range []string{".mbox", ".mbx", ".mbs"} {
		if own, ok := strings.CutSuffix(name, end); ok {
			name = own
		}
	}
	if name == "mbox" && len(s.folder) > 0 { // Apple Mail exports "Lavoro.mbox/mbox"
		return s.folder
	}
	for _, end := range []string{".eml", ".txt", ".msg"} {
		if strings.HasSuffix(strings.ToLower(name), end) {
			return s.folder
		}
	}
	return append(slices.Clone(s.folder), name)
}

// join makes a text of folders. No level has a slash of its own.
func join(folder []string) string {
	levels := make([]string, len(folder))
	for i, level := range folder {
		levels[i] = strings.ReplaceAll(level, "/", "_")
	}
	return strings.Join(levels, "/")
}
