package rig

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Process is a started program with a session and process group of its own.
type Process struct {
	command *exec.Cmd
	done    chan struct{} // closed when the program has ended
	err     error         // of Wait; valid once done is closed
}

// Start starts the command, appends its output to the log file, and stops it when the test ends.
func Start(t testing.TB, command *exec.Cmd, log string) *Process {
	t.Helper()
	p := launch(t, command, log)
	t.Cleanup(p.Stop)
	return p
}

// launch is Start without the stop at the end.
func launch(t testing.TB, command *exec.Cmd, log string) *Process {
	t.Helper()
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	command.Stdout, command.Stderr = output, output
	if command.SysProcAttr == nil {
		command.SysProcAttr = new(syscall.SysProcAttr)
	}
	command.SysProcAttr.Setsid = true // Postfix insists on a session of its own; a process group comes with it
	if err := command.Start(); err != nil {
		t.Fatalf("starting %s: %v", command.Path, err)
	}
	p := &Process{command: command, done: make(chan struct{})}
	guard := p.startGuard(t)
	go func() {
		p.err = command.Wait()
		guard()
		close(p.done)
	}()
	return p
}

// startGuard starts a shell that ends the program if the test dies first. The shell waits for a line; end of file instead means that nobody
// is left to write one. (The kernel's death signal will not do: it is lost when a program changes its user, as Postfix does.) The returned
// function dismisses the shell.
func (p *Process) startGuard(t testing.TB) (dismiss func()) {
	t.Helper()
	shell := exec.Command("/bin/sh", "-c", `read -r _ || kill -s TERM -- "-$0"`, strconv.Itoa(p.PID()))
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := shell.StdinPipe()
	if err == nil {
		err = shell.Start()
	}
	if err != nil {
		p.command.Process.Kill()
		t.Fatalf("starting the guard of %s: %v", p.command.Path, err)
	}
	return func() {
		pipe.Write([]byte("\n"))
		pipe.Close()
		shell.Wait()
	}
}

// PID returns the process id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Ended reports whether the program has ended, and how.
func (p *Process) Ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// Stop asks the program to end and waits for it. After 15 seconds it kills the whole process group. A second call does nothing.
func (p *Process) Stop() {
	if ended, _ := p.Ended(); ended {
		return
	}
	p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		p.Kill()
	}
}

// Kill ends the program and its process group with SIGKILL and waits for it.
func (p *Process) Kill() {
	if ended, _ := p.Ended(); ended {
		return
	}
	syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
}
