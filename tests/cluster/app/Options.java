import java.lang.management.ManagementFactory;

/** Says what the virtual machine was given, by whatever way, then ends, or stays with an argument. */
public class Options {
    public static void main(String[] arguments) throws InterruptedException {
        for (String option : ManagementFactory.getRuntimeMXBean().getInputArguments()) {
            System.out.println("given: " + option);
        }
        System.out.println("said");
        if (arguments.length > 0) {
            Thread.sleep(Long.MAX_VALUE);
        }
    }
}
